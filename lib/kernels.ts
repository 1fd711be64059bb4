/**
 * The engine's kernels on the CPU, one call each, synchronous on the calling thread: for profiling and for tests. Their arithmetic is in
 * docs/kernels.md.
 * @module fkinv-native/kernels
 */
import { z } from 'zod';
import { instructionSet as resolveInstructionSet } from './native/create-engines';
import { FkinvError } from './errors';
import { native } from './native/addon';
import { invertSchema } from './options';
import {
  instructionSets,
  logitsTypes,
  resamplingSchemes,
  type InstructionSet,
  type LogitsType,
  type ResamplingScheme,
} from './schemes';
import { integer, validate } from './util/validate';

export type { InstructionSet, LogitsType, ResamplingScheme };

function fail(message: string): never {
  throw new FkinvError('INVALID_OPTION', message);
}

/** Float32Array, or the bits of float16 or bfloat16 logits in a Uint16Array. */
export type LogitsArray = Float32Array | Uint16Array;

const instructionSetSchema = z
  .enum(instructionSets, { error: `must be one of ${instructionSets.join(', ')}` })
  .optional()
  .transform((set) => resolveInstructionSet(set));
const typeSchema = z.enum(logitsTypes, { error: `must be one of ${logitsTypes.join(', ')}` }).default('float32');

/** Throws unless the array is the one that goes with `type`. */
function checkType(logits: LogitsArray, type: LogitsType): void {
  const wanted = type === 'float32' ? Float32Array : Uint16Array;
  if (!(logits instanceof wanted)) fail(`logits: must be a ${wanted.name} for type ${type}`);
}

/** The shape of the logits that {@link coupling} is given, and which positions count. */
export interface CouplingOptions {
  /** N, rows of a state: 1 or more. */
  positions: number;
  /** V, columns of a row: 1 or more. */
  vocab: number;
  /** Type of the logits; default `float32`. */
  type?: LogitsType;
  /** Which positions count in mean and variance [states, positions], non-zero where they do; default all. */
  counted?: Uint8Array;
  /**
   * Instructions to run in; default what the environment variable `FKINV_INSTRUCTION_SET` names, else the best that this
   * processor has.
   */
  instructionSet?: InstructionSet;
}

/** Similarity and row statistics of each state: entry q of every list belongs to state q. */
export interface CouplingResult {
  /** S = P̂P̂ᵀ with P̂ = softmax(logits) [positions · positions], row-major. */
  gram: Float32Array[];
  /** μ of S over the pairs i ≠ j of counted positions; 0 where fewer than two count. */
  mean: number[];
  /** σ²: population variance of S over the same pairs. */
  variance: number[];
  /** The disentanglement reward r_edit = 1 − (μ + σ), at most 1. */
  reward: number[];
  /** Entropy of each row [positions], in nats. */
  entropy: Float32Array[];
  /** Maximum of each row [positions]. */
  rowMax: Float32Array[];
}

const couplingSchema = z.strictObject({
  positions: integer(1, 4096),
  vocab: integer(1, 2 ** 24),
  type: typeSchema,
  counted: z.instanceof(Uint8Array, { error: 'must be a Uint8Array' }).optional(),
  instructionSet: instructionSetSchema,
});

/**
 * The pass and the merge over `logits` [states, positions, vocab], and the disentanglement reward of each state.
 * −inf suppresses a token.
 * @param logits - [states, positions, vocab], row-major; at least one state.
 * @param options - The shape of `logits`, and which positions count.
 * @returns Similarity, reward and row statistics of each state.
 * @throws FkinvError `INVALID_OPTION`, `INVALID_LOGITS` (NaN, +inf) or `NOTHING_LEFT` (a row of −inf)
 */
export function coupling(logits: LogitsArray, options: CouplingOptions): CouplingResult {
  const { positions, vocab, type, counted, instructionSet } = validate(couplingSchema, options, 'options of coupling');
  checkType(logits, type);
  const rows = logits.length / vocab;
  if (logits.length === 0 || rows % positions !== 0) {
    fail(`logits: ${logits.length} values are no whole number of states of ${positions} × ${vocab}`);
  }
  if (counted !== undefined && counted.length !== rows) {
    fail(`counted: must have ${rows} entries, one a position of a state, not ${counted.length}`);
  }
  return native.coupling(logits, type, positions, vocab, counted ?? new Uint8Array(rows).fill(1), instructionSet);
}

/** Where and how {@link draw} draws. */
export interface DrawOptions {
  /** V, columns of a row: 1 or more. */
  vocab: number;
  /** τ: 0 (the argmax, lowest id on ties) or 0.06 to 10; default 1. */
  temperature?: number;
  /** Draw from the k most probable tokens only: 1 to 2²⁴; default all. */
  topK?: number;
  /** Draw from the fewest tokens whose tempered mass reaches p, after topK. Above 0, to 1; default 1, all. */
  topP?: number;
  /** Type of the logits; default `float32`. */
  type?: LogitsType;
  /** A uniform in [0, 1) for each row, which chooses the tile of 1024 columns. */
  u: Float64Array;
  /** A uniform in [0, 1) for each row, which chooses the token in the tile. */
  uInside: Float64Array;
  /**
   * Instructions to run in; default what the environment variable `FKINV_INSTRUCTION_SET` names, else the best that this
   * processor has.
   */
  instructionSet?: InstructionSet;
}

const uniformsSchema = z
  .instanceof(Float64Array, { error: 'must be a Float64Array' })
  .refine((u) => u.every((x) => x >= 0 && x < 1), 'must lie in [0, 1)');
const drawSchema = z.strictObject({
  vocab: integer(1, 2 ** 24),
  temperature: invertSchema.shape.temperature,
  topK: invertSchema.shape.topK,
  topP: invertSchema.shape.topP,
  type: typeSchema,
  u: uniformsSchema,
  uInside: uniformsSchema,
  instructionSet: instructionSetSchema,
});

/**
 * Draws one token for each row of `logits` [rows, vocab] from softmax(logits/τ) over what topK and topP keep, by inverse CDF on
 * two levels, which is exact in the tail.
 * @param logits - [rows, vocab], row-major; −inf suppresses a token.
 * @param options - How to draw, and two uniforms a row.
 * @returns A token id of each row [rows], 0 to vocab − 1.
 * @throws FkinvError `INVALID_OPTION`, `INVALID_LOGITS` or `NOTHING_LEFT`
 */
export function draw(logits: LogitsArray, options: DrawOptions): Int32Array {
  const given = validate(drawSchema, options, 'options of draw');
  const { vocab, temperature, topK = 0, topP, type, u, uInside, instructionSet } = given;
  checkType(logits, type);
  const rows = logits.length / vocab;
  if (rows === 0 || u.length !== rows || uInside.length !== rows) {
    fail(`u, uInside: must have an entry a row, ${rows} for ${logits.length} logits of ${vocab} columns`);
  }
  return native.draw(logits, type, vocab, temperature, topK, topP, u, uInside, instructionSet);
}

/** How {@link resample} draws. */
export interface ResampleOptions {
  /** How ancestors are drawn; it must be given. */
  scheme: ResamplingScheme;
  /** K uniforms in [0, 1); `systematic` reads the first only. */
  u: Float64Array;
}

const resampleSchema = z.strictObject({
  scheme: z.enum(resamplingSchemes, { error: `must be one of ${resamplingSchemes.join(', ')}` }),
  u: uniformsSchema,
});

/**
 * Draws the ancestors of K particles by their log-weights [K], and computes the effective sample size.
 * @param logWeights - [K], in nats; −inf is a weight of 0.
 * @param options - The scheme and its uniforms.
 * @returns The particle that each of the K slots continues, and how many particles the weights are worth.
 * @throws FkinvError `INVALID_OPTION` or `DEGENERATE_WEIGHTS` (none finite, or any NaN or +inf)
 */
export function resample(
  logWeights: Float64Array,
  options: ResampleOptions,
): {
  /** The particle that each slot continues [K], 0 to K − 1. */
  ancestors: Int32Array;
  /** Effective sample size (Σw)² / Σw², 1 to K. */
  ess: number;
} {
  const { scheme, u } = validate(resampleSchema, options, 'options of resample');
  if (!(logWeights instanceof Float64Array) || logWeights.length === 0) fail('logWeights: must be a Float64Array');
  if (u.length !== logWeights.length) fail(`u: must have ${logWeights.length} entries, one a particle`);
  return native.resample(logWeights, scheme, u);
}

function words(name: string, values: ArrayLike<number>, count: number): Uint32Array {
  const all = Array.from(values);
  const fits = all.length === count && all.every((word) => Number.isInteger(word) && word >= 0 && word < 2 ** 32);
  return fits ? Uint32Array.from(all) : fail(`${name}: must be ${count} whole numbers from 0 to 2^32 − 1`);
}

/**
 * Philox4x32-10 (Salmon et al., 2011): four random 32-bit words for a counter of four words and a key of two.
 * @param counter - Four words, 0 to 2³² − 1.
 * @param key - Two words, 0 to 2³² − 1.
 * @returns Four words.
 * @throws FkinvError `INVALID_OPTION`
 */
export function philox(counter: ArrayLike<number>, key: ArrayLike<number>): Uint32Array {
  return native.philox(words('counter', counter, 4), words('key', key, 2));
}
