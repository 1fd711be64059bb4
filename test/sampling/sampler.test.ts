import assert from 'node:assert';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { FkinvError } from '../../lib/errors';
import type { Inversion, TraceStep } from '../../lib/inversion';
import type { NativeTensor } from '../../lib/native/addon';
import { type InvertOptions } from '../../lib/options';
import { resolveOptions, type ResolvedOptions } from '../../lib/sampling/resolved-options';
import { sample, type Sampled } from '../../lib/sampling/sampler';
import { Ended, Listener } from '../../lib/sampling/listener';
import type { Models } from '../../lib/models/replicas';
import { orders } from '../../lib/schemes';
import { Stopwatch } from '../../lib/profiling/stopwatch';
import { Inverter } from '../../lib/inverter';
import { loadDemo, preparedFor, root } from '../helpers/models-demo';
import { walk } from '../helpers/walk';

const bells = path.join(root, 'examples', 'bells.png');
const squids = path.join(root, 'examples', 'squids.png');
const potato = path.join(root, 'examples', 'potato.png');
const close = (a: number, b: number, tolerance: number): boolean => Math.abs(a - b) <= tolerance;

let models: Models;
const embeds = new Map<string, NativeTensor>();
test.before(async () => {
  models = await loadDemo();
  for (const file of [bells, squids, potato]) {
    embeds.set(file, await models.clip.encodeImage(await preparedFor(models.clip, file)));
  }
});
test.after.always(() => models.engine.dispose());

const embedsOf = (file: string): NativeTensor => embeds.get(file) ?? assert.fail(file);
const resolve = (options: InvertOptions): ResolvedOptions => resolveOptions(options, models.dllm);

/** What each reference, pictures and a seed, gives; all in one call. */
async function sampleAll(
  references: [pictures: string[], seed: bigint][],
  options: InvertOptions,
  stopwatch = new Stopwatch(),
): Promise<Sampled[]> {
  const given = references.map(([pictures, seed]) => ({
    embeds: pictures.map(embedsOf),
    prefix: models.dllm.prefix,
    seed,
    listener: new Listener(),
  }));
  const results = await sample(models, given, resolve(options), stopwatch);
  return results.map((result) => {
    if (result instanceof FkinvError) throw result;
    return result instanceof Ended ? assert.fail() : result;
  });
}

/**
 * Sum of the trace's log-weights along the ancestors of slot `slot` of the last step. A step that did not resample is in
 * those of the next one already.
 */
function logWeightsAlongAncestors(trace: TraceStep[], slot: number): number {
  let sum = 0;
  let at = slot;
  for (const { step, steps, logWeights, ancestors, resampled } of [...trace].reverse()) {
    at = ancestors[at] ?? NaN;
    if (resampled || step === steps) sum += logWeights[at] ?? NaN;
  }
  return sum;
}

test('a length over what the device takes is refused with the options, whatever the model takes', (t) => {
  t.true(models.engine.maxPositions >= 2 ** 31 - 1); // the processor's kernels have no limit
  const engine = { device: 'cuda:0', maxPositions: 10 };
  const limited = Object.create(models.dllm, { engine: { value: engine } }) as Models['dllm'];
  t.is(resolveOptions({ length: 10 }, limited).length, 10);
  t.throws(() => resolveOptions({ length: 11 }, limited), {
    code: 'INVALID_OPTION',
    message: 'options of invert: length: 11 is over the 10 positions that cuda:0 takes',
  });
});

const described = (options: InvertOptions): string =>
  JSON.stringify(options, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v));

const settings: InvertOptions[] = [
  {},
  { seed: 2n ** 63n + 5n, particles: 5, steps: 7, lambdaClip: 40, lambdaEdit: 6 },
  { seed: 3, particles: 1, steps: 1 },
  { seed: 4, steps: 40, length: 12, minLength: 12 },
  { seed: 5, couplingOver: 'all', lambdaClip: 0 },
  { seed: 6, order: 'entropy', steps: 8, resampling: 'systematic', essThreshold: 0.5, guesses: 3, lambdaClip: 20 },
  { seed: 7, order: 'margin', steps: 6, essThreshold: 0, lambdaClip: 20 },
];
for (const options of settings) {
  test(`the log-weights telescope, and the coupling gives rewardEdit: ${described(options)}`, async (t) => {
    await using inverter = await Inverter.load();
    const inversion = await inverter.invert(bells, options);
    const { lambdaClip, lambdaEdit, particles: K, steps, length, minLength } = resolve(options);

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

const template = 'a [3] illustration of [5] on [4]';
const seed = 0x1_0000_002an;

const walks: [options: InvertOptions, pictures?: string[]][] = [
  [{ length: 9, particles: 1, steps: 1 }],
  [{ length: 8, minLength: 2, particles: 5, steps: 6, lambdaClip: 30 }],
  [{ length: 10, minLength: 10, particles: 4, steps: 3, temperature: 0.7, lambdaClip: 10, lambdaEdit: 50 }],
  [{ length: 5, particles: 6, steps: 16, temperature: 1.1, topP: 0.9, lambdaClip: 8 }],
  [{ length: 12, particles: 3, steps: 20, temperature: 1.5, lambdaClip: 0, lambdaEdit: 0 }],
  [{ length: 17, particles: 4, steps: 6, blockLength: 6, couplingOver: 'all', lambdaClip: 20 }],
  [{ length: 7, particles: 3, steps: 4, temperature: 0, lambdaClip: 5 }],
  [{ order: 'confidence', length: 11, particles: 4, steps: 4, lambdaClip: 20 }],
  [{ order: 'confidence', length: 9, particles: 3, steps: 3, temperature: 1.6, topP: 0.9, lambdaClip: 10 }],
  [{ order: 'entropy', length: 9, particles: 4, steps: 6, blockLength: 5, topK: 20, lambdaClip: 10 }],
  [{ order: 'margin', length: 10, particles: 4, steps: 4, topK: 50, topP: 0.8, temperature: 0.8, lambdaClip: 10 }],
  [{ length: 8, particles: 4, steps: 5, guesses: 3, resampling: 'stratified', essThreshold: 0.5, lambdaClip: 8 }],
  [{ length: 8, particles: 5, steps: 5, resampling: 'systematic', essThreshold: 0, order: 'entropy', lambdaClip: 9 }],
  [{ length: 9, particles: 6, steps: 4, resampling: 'residual', essThreshold: 0.8, topP: 0.7, lambdaClip: 5 }],
  [{ template, particles: 4, steps: 4, lambdaClip: 15, banned: [307] }, [bells, squids]],
  [{ template: '[3] [5]', minLength: 1, particles: 3, steps: 3, order: 'margin' }],
  [{ template: 'a [2] of [4] glass', particles: 3, steps: 6, order: 'confidence', blockLength: 4, guesses: 2 }],
];
for (const [options, pictures = [squids]] of walks) {
  test(`a plain walk through the method gives the same particles: ${described(options)}`, async (t) => {
    const stopwatch = new Stopwatch();
    const [sampled = t.fail()] = await sampleAll([[pictures, seed]], options, stopwatch);
    const references = await Promise.all(pictures.map((file) => embedsOf(file).read()));
    const expected = await walk(models, references, seed, resolve(options));
    const { trace, particles } = sampled;
    t.deepEqual(
      trace.slice(0, -1).map(({ ancestors }) => ancestors),
      expected.ancestors,
    );
    t.deepEqual(
      trace.slice(0, -1).map(({ resampled }) => resampled),
      expected.resampled,
    );
    const isNew = (state: string, step: number): boolean => expected.states[step - 1]?.has(state) !== true;
    const fresh = expected.states.flatMap((states, step) => [...states].filter((state) => isNew(state, step)));
    t.deepEqual(
      trace.map(({ states }) => states),
      expected.states.map(({ size }) => size),
    );
    t.is(stopwatch.forwards, fresh.length, 'a forward for each state that the step before did not have');
    const bounds = { rewardClip: 1e-9, rewardEdit: 1e-9, logWeights: 1e-3 };
    for (const field of ['rewardClip', 'rewardEdit', 'logWeights'] as const) {
      for (const [step, row] of expected[field].entries()) {
        const actual = trace[step]?.[field] ?? [];
        const isClose = row.every((value, k) => close(actual[k] ?? NaN, value, bounds[field]));
        t.true(isClose, `${field} of step ${step}: ${actual.join(' ')}, not ${row.join(' ')}`);
      }
    }
    for (const { slot, tokens, logProb } of particles) {
      const walker = expected.walkers[slot] ?? t.fail();
      t.deepEqual(tokens, walker.tokens);
      t.true(close(logProb, walker.logProb, 1e-4), `${logProb} is not ${walker.logProb}`);
    }
  });
}

for (const essThreshold of [1, 0.5, 0]) {
  test(`a step resamples when the ESS is below the threshold's share of K, or always at 1: ${essThreshold}`, async (t) => {
    const given = { particles: 8, steps: 12, lambdaClip: 10, essThreshold };
    const [{ trace } = t.fail()] = await sampleAll([[[squids], seed]], given);
    for (const { step, ess, ancestors, resampled } of trace) {
      t.is(resampled, step < 12 && (essThreshold === 1 || ess < 8 * essThreshold), `step ${step}, ESS ${ess}`);
      if (!resampled) t.deepEqual(ancestors, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    const count = trace.filter(({ resampled }) => resampled).length;
    t.true(essThreshold === 0.5 ? count > 0 && count < 12 : count === 12 * essThreshold, `${count} of 12`);
  });
}

const packs: InvertOptions[] = [
  ...orders.map((order): InvertOptions => ({ order, steps: 4, lambdaClip: 25 })),
  { steps: 5, guesses: 2, essThreshold: 0.6, resampling: 'systematic', lambdaClip: 10 },
  { steps: 4, order: 'margin', topP: 0.9, temperature: 1.2, blockLength: 7, couplingOver: 'all' },
  { steps: 4, banned: ['illustration', 'bells', 'orange', 'green', 'render', 'potato', 'a'] },
  { steps: 4, order: 'confidence', guesses: 2, banned: ['illustration', 'squid', 'orange', 'green', 'on'] },
  { steps: 4, template, banned: ['vector', 'plain'] },
  { steps: 20, length: 5, temperature: 1.1, topP: 0.9, lambdaClip: 8 },
];
for (const pack of packs) {
  test(`images packed together give bit for bit what each gives alone: ${described(pack)}`, async (t) => {
    const options = { particles: 4, ...(pack.template === undefined ? { length: 14 } : {}), ...pack };
    const references: [string[], bigint][] = [
      [[bells], 11n],
      [[squids], 2n ** 64n - 1n],
      [[potato, bells], 13n],
    ];
    const together = await sampleAll(references, options);
    for (const [i, reference] of references.entries()) {
      t.deepEqual(await sampleAll([reference], options), together.slice(i, i + 1));
    }
    if (pack.banned !== undefined) {
      t.notDeepEqual(await sampleAll(references, { ...options, banned: [] }), together, 'the bans met something');
    }
  });
}

test('1, 2 and 3 threads give the same', async (t) => {
  const options: InvertOptions[] = [
    { particles: 5, steps: 5 },
    { particles: 4, steps: 4, order: 'confidence', topP: 0.9, guesses: 3 },
    { particles: 4, steps: 4, banned: ['orange', 'background', 'on'] },
  ];
  const resultsOf = async (threads: number): Promise<Omit<Inversion, 'timings'>[]> => {
    await using inverter = await Inverter.load({ threads });
    const inversions = await Promise.all(options.map((given) => inverter.invert([bells, squids], given)));
    return inversions.map((inversion) => ({ ...inversion, timings: undefined }));
  };
  const one = await resultsOf(1);
  for (const threads of [2, 3]) t.deepEqual(await resultsOf(threads), one, `${threads} threads`);
});

test('each distinct state is run once, and not again while it lasts', async (t) => {
  await using inverter = await Inverter.load();
  const { trace } = await inverter.invert(bells, { particles: 8, steps: 24 });
  t.is(trace[0]?.states, 1, 'all particles start as the same masks');
  for (const { states } of trace) t.true(states >= 1 && states <= 8);
  const { trace: long, timings } = await inverter.invert(bells, { particles: 8, steps: 400, seed: 2 });
  const states = long.reduce((sum, step) => sum + step.states, 0);
  t.true(states < 0.7 * 8 * long.length, `${states} of ${8 * long.length}: with many steps siblings often stay equal`);
  t.true(timings.forwards < 0.2 * states, `${timings.forwards} of ${states}: most open nothing in a step`);
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
    reward: 8,
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
