import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import type { Inversion, TraceStep } from '../lib/inversion';
import { resolveOptions, type InvertOptions } from '../lib/options';
import { sample, type Sampled } from '../lib/sampler';
import { Stopwatch } from '../lib/stopwatch';
import { Inverter } from '../lib/inverter';
import { loadDemo, root } from './models-demo';
import { walk } from './walk';

const bells = path.join(root, 'examples', 'bells.png');
const squids = path.join(root, 'examples', 'squids.png');
const close = (a: number, b: number, tolerance: number): boolean => Math.abs(a - b) <= tolerance;

/** Sum of the trace's log-weights along the ancestors of slot `slot` of the last step. */
function logWeightsAlongAncestors(trace: TraceStep[], slot: number): number {
  let sum = 0;
  for (let step = trace.length - 1, at = slot; step >= 0; step--) {
    sum += trace[step]?.logWeights[at] ?? NaN;
    at = trace[step - 1]?.ancestors[at] ?? 0;
  }
  return sum;
}

const settings: InvertOptions[] = [
  {},
  { seed: 2n ** 63n + 5n, particles: 5, steps: 7, lambdaClip: 40, lambdaEdit: 6 },
  { seed: 3, particles: 1, steps: 1 },
  { seed: 4, steps: 40, length: 12, minLength: 12 },
  { seed: 5, couplingOver: 'all', lambdaClip: 0 },
];
for (const options of settings) {
  const name = JSON.stringify(options, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v));
  test(`the log-weights telescope, and the coupling gives rewardEdit: ${name}`, async (t) => {
    await using inverter = await Inverter.load();
    const inversion = await inverter.invert(bells, options);
    const { lambdaClip, lambdaEdit, particles: K, steps, length, minLength } = resolveOptions(options, 32);

    t.is(inversion.trace.length, steps + 1);
    t.is(inversion.particles.length, K);
    for (const { slot, reward, rewardClip, rewardEdit } of inversion.particles) {
      t.true(close(reward, lambdaClip * rewardClip + lambdaEdit * rewardEdit, 1e-9));
      const sum = logWeightsAlongAncestors(inversion.trace, slot);
      t.true(close(sum, reward, 1e-9), `slot ${slot}: ${sum} is not ${reward}`);
    }

    const { matrix, counted, mean, deviation } = inversion.coupling;
    const pairs = matrix.flatMap((row, i) =>
      row.filter((_, j) => i !== j && counted[i] === true && counted[j] === true),
    );
    const mu = pairs.length > 0 ? pairs.reduce((a, b) => a + b, 0) / pairs.length : 0;
    const sigma = Math.sqrt(pairs.reduce((a, b) => a + (b - mu) ** 2, 0) / Math.max(1, pairs.length));
    t.true(close(mu, mean, 1e-9) && close(sigma, deviation, 1e-9));
    t.true(close(1 - (mean + deviation), inversion.rewardEdit, 1e-9));

    t.is(inversion.tokens.length, length);
    const end = inversion.tokens.indexOf(0);
    t.true(end === -1 || end >= minLength, `a stop token at ${end}`);
    t.false(
      inversion.particles.some(({ tokens }) => tokens.includes(1)),
      'no [MASK] is left',
    );
    const text = end === -1 ? length : end;
    t.deepEqual(
      counted,
      Array.from({ length }, (_, i) => options.couplingOver === 'all' || i < text),
    );
    t.is(inversion.coupling.labels.slice(0, text).join(''), inversion.prompt);
  });
}

test('particles are ranked by reward, and the first is the result', async (t) => {
  await using inverter = await Inverter.load();
  const inversion = await inverter.invert(squids, { particles: 16, steps: 6 });
  const rewards = inversion.particles.map(({ reward }) => reward);
  t.deepEqual(
    rewards,
    [...rewards].sort((a, b) => b - a),
  );
  t.deepEqual(new Set(inversion.particles.map(({ slot }) => slot)).size, 16);
  const { slot, ...best } = inversion.particles[0] ?? t.fail();
  for (const [key, value] of Object.entries(best)) t.deepEqual(inversion[key as keyof Inversion], value);
  const last = inversion.trace.at(-1) ?? t.fail();
  t.is(last.rewardClip[slot], best.rewardClip);
  t.is(last.best, inversion.prompt);
  t.deepEqual(
    last.ancestors,
    Array.from({ length: 16 }, (_, k) => k),
    'nothing is resampled at t = 0',
  );
  for (const { ess, ancestors } of inversion.trace) {
    t.true(ess >= 1 - 1e-9 && ess <= 16 + 1e-9);
    t.true(ancestors.every((k) => Number.isInteger(k) && k >= 0 && k < 16));
  }
  t.deepEqual(JSON.parse(JSON.stringify(inversion)), inversion, 'plain data');
});

const walks: InvertOptions[] = [
  { length: 9, particles: 1, steps: 1 },
  { length: 8, minLength: 2, particles: 5, steps: 6, lambdaClip: 30 },
  { length: 10, minLength: 10, particles: 4, steps: 3, temperature: 0.7, lambdaClip: 10, lambdaEdit: 50 },
  { length: 12, particles: 3, steps: 20, temperature: 1.5, lambdaClip: 0, lambdaEdit: 0 },
];
for (const given of walks) {
  test(`a plain walk through the method gives the same particles: ${JSON.stringify(given)}`, async (t) => {
    const models = await loadDemo();
    const { clip, engine } = models;
    const embeds = await clip.encodeImage(await clip.prepare(squids));
    const seed = 0x1_0000_002an;
    const options = resolveOptions(given, 32);
    const [sampled] = await sample(models, embeds, [seed], options, new Stopwatch());
    const { walkers, logWeights, ancestors } = await walk(models, await embeds.read(), seed, options);
    t.deepEqual(
      sampled?.trace.slice(0, -1).map((step) => step.ancestors),
      ancestors,
    );
    for (const { slot, tokens, rewardClip, rewardEdit, logProb } of sampled?.particles ?? []) {
      const walker = walkers[slot] ?? t.fail();
      t.deepEqual(tokens, walker.tokens);
      t.true(close(rewardClip, walker.rewardClip, 1e-9));
      t.true(close(rewardEdit, walker.rewardEdit, 1e-9));
      t.true(close(logProb, walker.logProb, 1e-4), `${logProb} is not ${walker.logProb}`);
    }
    for (const [step, row] of logWeights.entries()) {
      for (const [k, expected] of row.entries()) {
        const actual = sampled?.trace[step]?.logWeights[k] ?? NaN;
        t.true(close(actual, expected, 1e-3), `step ${step}, slot ${k}: ${actual} is not ${expected}`);
      }
    }
    await engine.dispose();
  });
}

test('an image is sampled alike alone and among others', async (t) => {
  const models = await loadDemo();
  const { clip, engine } = models;
  const options = resolveOptions({ particles: 4, steps: 6 }, 32);
  const prepared = [await clip.prepare(bells), await clip.prepare(squids)];
  const pixels = new Float32Array(2 * 3 * 64 * 64);
  prepared.forEach(({ pixelValues }, i) => pixels.set(pixelValues, i * pixelValues.length));
  const input = { name: 'pixel_values', data: pixels, rowShape: [3, 64, 64] };
  const both = await clip.vision.session.run(2, [input], 'image_embeds', [clip.embedSize]);
  const together = await sample(models, both, [11n, 12n], options, new Stopwatch());
  t.is(together.length, 2);
  for (const [i, seed] of [11n, 12n].entries()) {
    const embeds = await clip.encodeImage(prepared[i] ?? t.fail());
    const [alone] = await sample(models, embeds, [seed], options, new Stopwatch());
    t.deepEqual<Sampled | undefined, Sampled | undefined>(together[i], alone);
  }
  await engine.dispose();
});

test('each distinct state is run once', async (t) => {
  await using inverter = await Inverter.load();
  const { trace } = await inverter.invert(bells, { particles: 8, steps: 24 });
  t.is(trace[0]?.states, 1, 'all particles start as the same masks');
  for (const { states } of trace) t.true(states >= 1 && states <= 8);
  const { trace: short } = await inverter.invert(bells, { particles: 8, steps: 400, seed: 2 });
  const runs = short.reduce((sum, { states }) => sum + states, 0);
  t.true(runs < 0.7 * 8 * short.length, `${runs} of ${8 * short.length}: with many steps siblings often stay equal`);
});

test('timings name every stage, once a step or so', async (t) => {
  await using inverter = await Inverter.load();
  const { timings } = await inverter.invert(bells, { particles: 2, steps: 3 });
  const calls = Object.fromEntries(Object.entries(timings.stages).map(([name, stage]) => [name, stage.calls]));
  t.deepEqual(calls, {
    decodeImage: 1,
    encodeImage: 1,
    decodeText: 4,
    tokenizeText: 4,
    denoise: 4,
    pass: 4,
    guess: 4,
    encodeText: 4,
    reward: 4,
    resample: 7,
    propose: 3,
  });
  const sum = Object.values(timings.stages).reduce((total, { ms }) => total + ms, 0);
  t.true(sum <= timings.total);
});

test('a prompt longer than CLIP reads is flagged', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-clip-'));
  cpSync(path.join(root, 'models', 'clip'), folder, { recursive: true });
  const config = path.join(folder, 'tokenizer_config.json');
  writeFileSync(config, readFileSync(config, 'utf8').replace('"model_max_length": 48', '"model_max_length": 6'));
  await using short = await Inverter.load({ clip: folder });
  const { warnings, rewardClip } = await short.invert(bells, { particles: 2, steps: 2, minLength: 20 });
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? '', /longer than the 6 tokens CLIP reads/);
  t.true(rewardClip > -1 && rewardClip < 1);
  await using inverter = await Inverter.load();
  t.deepEqual((await inverter.invert(bells, { particles: 2, steps: 2 })).warnings, []);
  rmSync(folder, { recursive: true });
});
