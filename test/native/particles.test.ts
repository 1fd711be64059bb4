// The addon's particles by themselves: how they are made and given back, what their options must be, and which texts the
// engine encodes again.
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { FkinvError } from '../../lib/errors';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { ModelFolder } from '../../lib/models/model-folder';
import type { Models } from '../../lib/models/replicas';
import {
  native,
  type NativeOutcome,
  type NativeParticleOptions,
  type NativeParticles,
  type NativeRecorder,
  type NativeTensor,
} from '../../lib/native/addon';
import { particleOptions } from '../../lib/sampling/sampler';
import { resolveOptions } from '../../lib/sampling/resolved-options';
import { cpuEngine } from '../helpers/cpu-engine';
import { preparedFor } from '../helpers/models-demo';
import { bells, root } from '../helpers/fkinv';

interface Loaded extends Models {
  embeds: NativeTensor;
}

async function load(t: ExecutionContext): Promise<Loaded> {
  const engine = cpuEngine(1);
  t.teardown(() => engine.dispose());
  const clip = await Clip.load(engine, new ModelFolder(path.join(root, 'models', 'clip')));
  const dllm = await Dllm.load(engine, new ModelFolder(path.join(root, 'models', 'dllm')), clip);
  return { engine, clip, dllm, embeds: await clip.encodeImage(await preparedFor(clip, bells)) };
}

const particles = 4;
const steps = 6;

function optionsOf({ dllm }: Loaded, seeds = [0n]): NativeParticleOptions {
  const resolved = resolveOptions({ particles, steps, length: 5 }, dllm);
  return particleOptions(dllm, resolved, { prefixes: [], seeds });
}

function create(
  models: Loaded,
  options: object = optionsOf(models),
  recorder?: NativeRecorder,
): Promise<NativeParticles> {
  const { engine, dllm, clip, embeds } = models;
  const { images } = options as NativeParticleOptions;
  const references = new Array<NativeTensor[]>(images).fill([embeds]);
  const given = options as NativeParticleOptions;
  return native.createParticles(
    engine,
    dllm.graph(),
    clip.textGraph(),
    references,
    clip.embedSize,
    given,
    [],
    recorder,
  );
}

test('no room for them is told by the promise, and others are made after it', async (t) => {
  const models = await load(t);
  const images = 10_000;
  const options = optionsOf(models, new Array<bigint>(images).fill(0n));
  const tooLarge = create(models, { ...options, particlesPerImage: 1024, length: 4096 }); // 300 TB of S alone
  await t.throwsAsync(tooLarge, { instanceOf: FkinvError, code: 'OUT_OF_MEMORY' });
  const made = await create(models);
  t.is((await made.denoise()).forwards, 1);
  made.release();
});

test('the engine’s thread alone gives the device work, as they are made too', async (t) => {
  const models = await load(t);
  const recorder = new native.Recorder();
  const made = await create(models, undefined, recorder);
  const spans = await recorder.take(models.engine);
  t.true(spans.length > 10);
  t.deepEqual([...new Set(spans.map(({ name, thread }) => `${name} on ${thread}`))], ['upload on 1']);
  made.release();
});

test('an engine that is disposed of while they wait to be made fails them', async (t) => {
  const models = await load(t);
  const before = models.engine.measureLimits(); // which holds the engine for half a second
  const waiting = Array.from({ length: 4 }, () => create(models));
  const disposed = models.engine.dispose();
  const ended = await Promise.allSettled(waiting);
  await Promise.allSettled([before, disposed]);
  const codes = ended.map((one) => (one.status === 'rejected' ? (one.reason as FkinvError).code : 'made'));
  t.deepEqual(codes, ['DISPOSED', 'DISPOSED', 'DISPOSED', 'DISPOSED']);
});

test('they are given back while a job runs, and know no job afterwards', async (t) => {
  const models = await load(t);
  const made = await create(models);
  const running = made.denoise();
  made.release();
  t.is((await running).forwards, 1);
  t.throws(() => made.denoise(), { instanceOf: FkinvError, code: 'DISPOSED' });
  made.release();
});

test('what is cancelled before its first job does none', async (t) => {
  const made = await create(await load(t));
  made.cancel();
  await t.throwsAsync(made.denoise(), { instanceOf: FkinvError, code: 'ABORTED' });
  made.release();
});

test('a name that is missing, unknown or no member of its list is an error that says which', async (t) => {
  const models = await load(t);
  const options = optionsOf(models);
  const missing: Partial<NativeParticleOptions> = { ...options };
  delete missing.steps;
  const wrong: [options: object, message: RegExp][] = [
    [missing, /expected a value named steps$/],
    [{ ...options, lambdaClip: 1 }, /expected no other names than those it knows$/],
    [{ ...options, order: 'Random' }, /expected one of random, confidence, entropy, margin$/],
    [{ ...options, order: 0 }, /expected a string$/],
    [{ ...options, scheme: '' }, /expected one of multinomial, stratified, residual, systematic$/],
    [{ ...options, rewards: [{ name: 'clip', lambda: 1 }] }, /expected a value named isGiven$/],
  ];
  for (const [given, message] of wrong) t.throws(() => create(models, given), { instanceOf: TypeError, message });
  const rewards = [...options.rewards, { name: 'beauty', lambda: 1, isGiven: false }];
  await t.throwsAsync(create(models, { ...options, rewards }), { code: 'INTERNAL', message: /no reward "beauty"/ });
  await t.throwsAsync(create(models, { ...options, rewards: [] }), { code: 'INTERNAL', message: /without "edit"/ });
});

/** What a step comes to when the particles' guesses have these `texts`, undefined for none. */
function advance(
  made: NativeParticles,
  step: number,
  texts: readonly (string | undefined)[],
  { clip }: Models,
  given: Record<string, Float64Array> = {},
): Promise<NativeOutcome> {
  const textOf = Int32Array.from(texts, (text, i) => (text === undefined ? -1 : i));
  return made.advance(step, { ...clip.tokenize(texts.map((text) => text ?? '')), textOf }, given);
}

const words = fc.constantFrom('', 'a cat', 'a dog', 'red', 'two boats', 'sky');
const runs = fc.array(fc.array(words, { minLength: particles, maxLength: particles }), {
  minLength: 1,
  maxLength: steps,
});

test('equal texts are encoded once, not again while steps have them, and their rewards do not depend on it', async (t) => {
  const models = await load(t);
  const rewardOf = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(runs, async (lists) => {
      const recorder = new native.Recorder();
      const made = await create(models, undefined, recorder);
      let before = new Set<string>();
      for (const [step, texts] of lists.entries()) {
        await made.denoise();
        await made.guess(step);
        await recorder.take(models.engine);
        const { rewards } = await advance(made, step, texts, models);
        const spans = await recorder.take(models.engine);
        const now = new Set(texts);
        const encoded = spans.filter(({ name, kind }) => name === 'CLIP text' && kind === 'model').length;
        t.is(encoded, [...now].filter((text) => !before.has(text)).length);
        before = now;
        texts.forEach((text, p) => {
          const reward = rewards['clip']?.[p] ?? NaN;
          t.is(reward, rewardOf.get(text) ?? reward, text);
          rewardOf.set(text, reward);
        });
        await made.accept();
      }
      made.release();
    }),
    { numRuns: 15 },
  );
});

test('a reward that is given steers as one of the engine’s own', async (t) => {
  const models = await load(t);
  const { rewards, ...options } = optionsOf(models);
  const lambda = 3;
  const made = await create(models, { ...options, rewards: [...rewards, { name: 'length', lambda, isGiven: true }] });
  const texts = ['a cat', 'a dog', 'red', 'sky'];
  const length = Float64Array.of(-1, 0.5, 0, 2);
  await made.denoise();
  await made.guess(0);
  t.throws(() => void advance(made, 0, texts, models), { message: /expected a value named length$/ });
  t.throws(() => void advance(made, 0, texts, models, { length: Float64Array.of(1) }), {
    message: /expected a value of each guess$/,
  });
  t.throws(() => void advance(made, 0, texts, models, { length, width: length }), { message: /no other names/ });
  const outcome = await advance(made, 0, texts, models, { length });
  t.deepEqual(Object.keys(outcome.rewards), ['clip', 'edit', 'length']);
  t.deepEqual(outcome.rewards['length'], length);
  const weighed = [...rewards, { name: 'length', lambda }];
  const totals = texts.map((_, p) =>
    weighed.reduce((sum, { name, lambda: weight }) => sum + weight * (outcome.rewards[name]?.[p] ?? NaN), 0),
  );
  t.deepEqual([...outcome.logWeights], totals);
  const { copies } = await made.copies();
  t.is(copies.rewards.toDevice, 8 * particles);
  made.release();
});
