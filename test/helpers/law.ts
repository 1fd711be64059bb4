// What test/sampling/law.test.ts and test/long/law.long.ts declare their tests with. The sampler targets
// p(x_0)·exp(λ·r(x_0))/Z. On a dLLM of three positions and five tokens that law is enumerated (exact-law.ts), and
// particles of many seeds, weighted by their last log-weights, are held to it.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Inverter, type Inversion, type InvertOptions, type RawImage } from 'fkinv-native';
import {
  corrected,
  correctedWhereOpened,
  keyOf,
  normalised,
  rewardEdit,
  steered,
  totalVariation,
  uncorrected,
  unsteered,
  type Law,
  type Measure,
  type Process,
} from './exact-law';
import { at, sum } from './kernels/golden';
import { tabular, tabularModel } from '../onnx/models';

const clip = path.join(__dirname, '..', 'fixtures', 'models', 'clip');
const root = mkdtempSync(path.join(tmpdir(), 'fkinv-law-'));
let inverter: Inverter;

/** Declares the hooks that the tests need. */
export function setUp(): void {
  test.before(async () => {
    await tabular(root);
    inverter = await Inverter.load({ dllm: root, clip, threads: 1 });
  });
  test.after.always(async () => {
    await inverter.dispose();
    rmSync(root, { recursive: true });
  });
}

const model = tabularModel();
const lambdaClip = 8;
const lambdaEdit = 6;
const plain: Process = {
  order: 'random',
  steps: 3,
  blockLength: model.length,
  minLength: 1,
  temperature: 1,
  topK: Infinity,
  topP: 1,
};
export const orders = ['random', 'confidence', 'entropy', 'margin'] as const;

// The target.

const colour = [200, 120, 40];
const image: RawImage = {
  data: Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => at(colour, i % 3)),
  width: 8,
  height: 8,
  channels: 3,
};

/** Tables of the CLIP in test/fixtures/models. */
interface ClipTables {
  words: string[];
  text: number[][];
  image: number[][];
  bias: number[];
}
const tables = JSON.parse(readFileSync(path.join(clip, '..', 'weights.json'), 'utf8')) as ClipTables;
const firstWord = 4; // after <pad>, <bos>, <eos>, <unk>
const imageEmbedding = tables.bias.map((bias, e) =>
  sum([bias, ...colour.map((value, c) => (value / 127.5 - 1) * at(at(tables.image, c), e))]),
);

function cosine(a: number[], b: number[]): number {
  const dot = (x: number[], y: number[]): number => sum(x.map((value, i) => value * at(y, i)));
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** r_CLIP of x_0: of <bos>, the words before the first stop, and <eos>. */
function rewardClip(tokens: number[]): number {
  const end = tokens.indexOf(model.eos);
  const words = tokens.slice(0, end === -1 ? tokens.length : end).map((id) => at(model.tokens, id));
  const ids = [1, ...words.map((word) => firstWord + tables.words.indexOf(word)), 2];
  const embedding = imageEmbedding.map((_, e) => sum(ids.map((id) => at(at(tables.text, id), e))));
  return cosine(imageEmbedding, embedding);
}

/** p(x_0)·exp(λ·r(x_0)) of a process: its sum is Z. */
function targetOf(process: Process, measure: Measure = corrected): Law {
  const total = (tokens: number[]): number =>
    lambdaClip * rewardClip(tokens) + lambdaEdit * rewardEdit(model, process, tokens);
  return steered(unsteered(model, process, measure), total);
}

// The estimates.

/** What `summarise` makes of the inversions with seeds 0 … `seeds` − 1. */
async function sampled<T>(options: InvertOptions, seeds: number, summarise: (inversion: Inversion) => T): Promise<T[]> {
  const concurrent = 32;
  const results: T[] = [];
  while (results.length < seeds) {
    const batch = Array.from({ length: Math.min(concurrent, seeds - results.length) }, (_, i) => results.length + i);
    const inversions = batch.map((seed) => inverter.invert(image, { ...options, seed }));
    results.push(...(await Promise.all(inversions)).map(summarise));
  }
  return results;
}

function optionsOf(process: Process): InvertOptions {
  const { topK, ...rest } = process;
  return { length: model.length, lambdaClip, lambdaEdit, ...rest, ...(topK < Infinity && { topK }) };
}

/** Log-weight of a particle at the end. */
type LogWeight = (inversion: Inversion, slot: number) => number;

const logWeight: LogWeight = ({ trace }, slot) => at(at(trace, trace.length - 1).logWeights, slot);

/**
 * Mass of each x_0 among the particles: their weights' mean times, for every resampling, the mean of the weights it
 * replaced by 1. Over seeds its mean is p(x_0)·exp(λ·r(x_0)) for any K.
 */
function masses(inversion: Inversion, weight: LogWeight = logWeight): Law {
  const { trace, particles } = inversion;
  const mean = (weights: number[]): number => sum(weights) / weights.length;
  const scale = trace
    .filter(({ resampled }) => resampled)
    .reduce((product, { logWeights }) => product * mean(logWeights.map(Math.exp)), 1 / particles.length);
  const law: Law = new Map();
  for (const { tokens, slot } of particles) {
    const key = keyOf(tokens);
    law.set(key, (law.get(key) ?? 0) + scale * Math.exp(weight(inversion, slot)));
  }
  return law;
}

interface Estimate {
  law: Law;
  /** Mean mass of a seed, and its standard error: Z's estimate. */
  mass: number;
  massError: number;
  /** What the total variation to the law it estimates stays below where only Monte-Carlo error is between them. */
  noise: number;
}

/** The law of all seeds' masses together. */
function estimate(samples: Law[]): Estimate {
  const totals = samples.map((sample) => sum(sample.values()));
  const whole = sum(totals);
  const mass = whole / samples.length;
  const keys = [...new Set(samples.flatMap((sample) => [...sample.keys()]))];
  const law = new Map(keys.map((key) => [key, sum(samples.map((sample) => sample.get(key) ?? 0)) / whole]));
  // The error of a ratio of sums, from the seeds' own deviations. The mean of |normal| is √(2/π) of its deviation; 3√Σσ²
  // are five deviations of Σ|normal|.
  const variances = [...law].map(([key, share]) =>
    sum(samples.map((sample, s) => (((sample.get(key) ?? 0) - share * at(totals, s)) / whole) ** 2)),
  );
  const expected = Math.sqrt(2 / Math.PI) * sum(variances.map(Math.sqrt));
  return {
    law,
    mass,
    massError: Math.sqrt(sum(totals.map((total) => (total - mass) ** 2))) / samples.length,
    noise: (expected + 3 * Math.sqrt(sum(variances))) / 2,
  };
}

const shown = (value: number): string => value.toFixed(4);

function isTarget(t: ExecutionContext, what: string, { law, noise }: Estimate, target: Law): void {
  const distance = totalVariation(law, normalised(target));
  t.log(`${what}: TV ${shown(distance)}, noise ${shown(noise)}`);
  t.true(distance < noise, `${what}: ${distance} is not within ${noise}`);
}

/** Asserts that an estimate is not a wrong law, by far. */
function isNot(t: ExecutionContext, what: string, { law, noise }: Estimate, wrong: Law): void {
  const distance = totalVariation(law, normalised(wrong));
  t.log(`not ${what}: TV ${shown(distance)}, noise ${shown(noise)}`);
  t.true(distance > 2 * noise, `${what} is not told apart`);
}

/** The same, by the shape of the wrong law or by its mass. */
function isNotByMass(t: ExecutionContext, what: string, own: Estimate, wrong: Law): void {
  const errors = Math.abs(sum(wrong.values()) - own.mass) / own.massError;
  if (errors > 10) t.log(`not ${what}: Z ${errors.toFixed(1)} errors away`);
  else isNot(t, what, own, wrong);
}

const ladder = { 1: 400, 4: 400, 16: 400, 64: 500 }; // seeds, by K
/** The larger K, the nearer the law of the particles is to the target. */
export function growsTo(order: (typeof orders)[number]): void {
  test.serial(`the particles’ law goes to the target as K grows: ${order}`, async (t) => {
    const process = { ...plain, order };
    const target = targetOf(process);
    const estimates = new Map<number, Estimate>();
    for (const [particles, seeds] of Object.entries(ladder)) {
      const options = { ...optionsOf(process), particles: Number(particles) };
      const samples = await sampled(options, seeds, (inversion) => normalised(masses(inversion)));
      estimates.set(Number(particles), estimate(samples));
    }
    const distances = [...estimates.values()].map(({ law }) => totalVariation(law, normalised(target)));
    t.log(`TV to the target by K: ${distances.map(shown).join(' ')}`);
    t.true(distances.every((distance, i) => i === 0 || distance < at(distances, i - 1)));
    isTarget(t, 'K 1 and the unsteered law', estimates.get(1) ?? t.fail(), unsteered(model, process));
    const most = estimates.get(64) ?? t.fail();
    isTarget(t, 'K 64', most, target);
    for (const other of orders.filter((one) => one !== order))
      isNot(t, other, most, targetOf({ ...process, order: other }));
  });
}

interface Case {
  process?: Partial<Process>;
  options?: InvertOptions;
  /** Laws that a faulty sampler would have. */
  wrong?: Record<string, (process: Process) => Law>;
}

const noWeights = { 'without importance weights': (process: Process) => targetOf(process, uncorrected) };
const noDiscarded = {
  'without the discarded draws’ weights': (process: Process) => targetOf(process, correctedWhereOpened),
};
const noBlocks = { 'without blocks': (process: Process) => targetOf({ ...process, blockLength: model.length }) };
const noTruncation = { 'without truncation': (process: Process) => targetOf({ ...process, topK: Infinity, topP: 1 }) };
const truncated = { ...noWeights, ...noTruncation };
const tempered = orders.flatMap((order) =>
  [0.6, 1.6].map((temperature): [string, Case] => {
    const wrong = { ...noWeights, ...(order === 'confidence' && noDiscarded) };
    return [`${order}, τ ${temperature}`, { process: { order, temperature }, wrong }];
  }),
);
export const cases: Record<string, Case> = {
  'random, two steps': { process: { steps: 2 } },
  'confidence, two steps': { process: { order: 'confidence', steps: 2 } },
  ...Object.fromEntries(tempered),
  'random, top-p 0.8': { process: { topP: 0.8 }, wrong: truncated },
  'confidence, top-p 0.8': { process: { order: 'confidence', topP: 0.8 }, wrong: { ...truncated, ...noDiscarded } },
  'margin, top-p 0.8, τ 1.6': { process: { order: 'margin', topP: 0.8, temperature: 1.6 }, wrong: truncated },
  'random, top-k 2': { process: { topK: 2 }, wrong: truncated },
  'entropy, top-k 3, τ 0.6': { process: { order: 'entropy', topK: 3, temperature: 0.6 }, wrong: noWeights },
  'random, top-k 3, then top-p 0.7': { process: { topK: 3, topP: 0.7 }, wrong: truncated },
  'random, blocks of 2': { process: { blockLength: 2, steps: 4 }, wrong: noBlocks },
  'confidence, blocks of 2': { process: { order: 'confidence', blockLength: 2, steps: 4 }, wrong: noBlocks },
  'entropy, blocks of 1': { process: { order: 'entropy', blockLength: 1 }, wrong: noBlocks },
  'margin, blocks of 2, τ 1.6': {
    process: { order: 'margin', blockLength: 2, steps: 2, temperature: 1.6 },
    wrong: { ...noBlocks, ...noWeights },
  },
  'ESS threshold 0.5': { options: { essThreshold: 0.5 } },
  'stratified resampling': { options: { resampling: 'stratified' } },
  'residual resampling': { options: { resampling: 'residual' } },
  'systematic resampling, ESS threshold 0.7': { options: { resampling: 'systematic', essThreshold: 0.7 } },
  'three guesses': { options: { guesses: 3 } },
  'confidence, τ 0.6, two guesses, ESS threshold 0.5': {
    process: { order: 'confidence', temperature: 0.6 },
    options: { guesses: 2, essThreshold: 0.5 },
    wrong: { ...noWeights, ...noDiscarded },
  },
};
/** Whether npm test has the order or the case, and not test:long. */
export function isInShort(name: string): boolean {
  return name === 'confidence' || Object.keys(cases).indexOf(name) % 5 === 1;
}

/** The law of 64 particles is the target of a case, and that of no faulty sampler. */
export function isTargetOf(name: string): void {
  const { process: changed = {}, options = {}, wrong = {} } = cases[name] ?? {};
  test.serial(`the particles’ law is the target: ${name}`, async (t) => {
    const process = { ...plain, ...changed };
    const target = targetOf(process);
    const resampled = new Set<boolean>();
    const samples = await sampled({ ...optionsOf(process), particles: 64, ...options }, 300, (inversion) => {
      for (const step of inversion.trace.slice(0, -1)) resampled.add(step.resampled);
      return masses(inversion);
    });
    t.deepEqual([...resampled].sort(), options.essThreshold === undefined ? [true] : [false, true]);
    const own = estimate(samples);
    isTarget(t, 'K 64', own, target);
    const Z = sum(target.values());
    t.log(`Z ${shown(Z)}, estimated ${shown(own.mass)} ± ${shown(own.massError)}`);
    t.true(Math.abs(own.mass - Z) < 5 * own.massError);
    for (const [fault, law] of Object.entries(wrong)) isNotByMass(t, fault, own, law(process));
  });
}

// Without resampling a particle stays in its slot, so that its weights can be taken apart.
const faults: Record<string, LogWeight> = {
  'no importance weights': ({ particles }, slot) => particles.find((particle) => particle.slot === slot)?.reward ?? NaN,
  'previous rewards taken for 0': (inversion, slot) => {
    const previous = inversion.trace.slice(0, -1);
    const rewards = previous.map(
      (step) => lambdaClip * at(step.rewardClip, slot) + lambdaEdit * at(step.rewardEdit, slot),
    );
    return logWeight(inversion, slot) + sum(rewards);
  },
  'weights not carried over': (inversion, slot) =>
    logWeight(inversion, slot) - at(at(inversion.trace, plain.steps - 1).logWeights, slot),
};
export function faultsMiss(): void {
  test.serial('weights that leave something out miss the target', async (t) => {
    const process: Process = { ...plain, order: 'confidence', temperature: 1.6 };
    const target = targetOf(process);
    const options = { ...optionsOf(process), particles: 64, essThreshold: 0 };
    const samples = await sampled(options, 300, (inversion) =>
      [logWeight, ...Object.values(faults)].map((weight) => masses(inversion, weight)),
    );
    const [right, ...wrong] = at(samples, 0).map((_, i) => estimate(samples.map((sample) => at(sample, i))));
    isTarget(t, 'all weights', right ?? t.fail(), target);
    for (const [i, name] of Object.keys(faults).entries()) isNot(t, `the target: ${name}`, at(wrong, i), target);
    isTarget(t, 'no importance weights, for what it is', at(wrong, 0), targetOf(process, uncorrected));
  });
}
