import { z } from 'zod';
import { BanList } from './banned';
import type { Dllm } from './dllm';
import { FkinvError } from './errors';
import type { TraceStep } from './inversion';
import type { NativeRestriction } from './native';
import { orders, resamplingSchemes, type Order, type ResamplingScheme } from './schemes';
import { parseTemplate, type Template } from './template';
import { integer, number, validate } from './validate';

/** Options of one image. Defaults were chosen on the embedded demo models; a model's `fkinv.json` may have its own. */
export interface ImageOptions {
  /**
   * Prompt positions N, in dLLM tokens: the longest a prompt can be. 1 to the model's own limit (32 for the demo); default
   * 28, or the limit if that is less. Not with `template`.
   */
  length?: number;
  /** Positions at the start that cannot end the prompt. 1 to `length`; default 4, or `length` if that is less. Equal to `length` it is an exact budget. */
  minLength?: number;
  /** Fixed text around and between free spans of tokens: `"a photo of [6], [10] at dusk"`; `[[` is a literal `[`. The prompt contains the fixed text verbatim. Default none: all positions are free. */
  template?: string;
  /** Words (whole, in any case) and token ids that no prompt, guess or particle contains. Default none. */
  banned?: (string | number)[];
  /** Particles K. 1 to 1024; default 8. */
  particles?: number;
  /** Denoising steps T; the dLLM runs T + 1 times. 1 to 1000; default 24. */
  steps?: number;
  /** Which masked positions open at a step: `random` (MDLM, default), or equal counts by `confidence` (LLaDA), `entropy` or `margin` (Dream). */
  order?: Order;
  /** Positions of a block; block b opens only after block b − 1. 1 to `length`; default `length`, one block. `steps` must be a multiple of the number of blocks. */
  blockLength?: number;
  /** Clean guesses φ of each particle at each step; the rewards of a step are the log-mean-exp of theirs. 1 to 64; default 1. */
  guesses?: number;
  /** How ancestors are drawn: `multinomial` (default), `stratified`, `residual` or `systematic`. */
  resampling?: ResamplingScheme;
  /** Resample when the effective sample size is below this share of K. 0 (never) to 1 (always, the default); weights are carried over otherwise. */
  essThreshold?: number;
  /** λ_CLIP, weight of the alignment reward. 0 (off) to 10000; default 100. */
  lambdaClip?: number;
  /** λ_edit, weight of the disentanglement reward. 0 (off) to 10000; default 20. */
  lambdaEdit?: number;
  /** τ of the draws. 0 (the argmax) or 0.06 to 10; default 1, the model itself. Otherwise importance weights correct for it. */
  temperature?: number;
  /** Draw from the k most probable tokens only. 1 or more; default all. Importance weights correct for it, on what it keeps. */
  topK?: number;
  /** Draw from the fewest tokens whose tempered mass reaches p, after `topK`. Above 0, to 1; default 1, all. Weights as with `topK`. */
  topP?: number;
  /** Which positions count in the disentanglement reward: the `text` before the prompt's end (default), or `all`. */
  couplingOver?: 'text' | 'all';
  /** Seed of every random draw, 0 to 2⁶⁴ − 1; default 0. Equal seeds give equal results, whatever runs beside. */
  seed?: number | bigint;
}

/** Options of {@link Inverter.invert}. */
export interface InvertOptions extends ImageOptions {
  /** Aborts the call: it rejects with code `ABORTED` and the signal's reason as its cause. */
  signal?: AbortSignal;
  /** Called after each step of each image, T + 1 times, and awaited; `index` is the image's place in the call. What it throws rejects the call. */
  onStep?: (step: TraceStep, index: number) => unknown;
}

/** Options of {@link Inverter.invertAll}. */
export interface InvertAllOptions extends InvertOptions {
  /**
   * The most rows of one forward: ⌊maxBatch / particles⌋ images are in flight together. `particles` to 65536; default 64, or
   * `particles` if that is more, or what the model's `fkinv.json` allows if that is less.
   */
  maxBatch?: number;
}

const temperature = 'must be 0 or a number from 0.06 to 10';
const topP = 'must be a number above 0, to 1';
const seed = 'must be a whole number from 0 to 2^64 − 1 (above 2^53 − 1 as a bigint)';
const banned = 'must be a list of words and token ids';

/** The options, their ranges and defaults: lib/cli/invert.ts holds its flags to the same schema. */
export const invertSchema = z.strictObject({
  length: integer(1, 4096).default(28),
  minLength: integer(1, 4096).optional(),
  template: z.string({ error: 'must be a text' }).optional(),
  banned: z
    .array(z.union([z.string(), z.int(banned).min(0, banned)], { error: banned }), { error: banned })
    .default([]),
  particles: integer(1, 1024).default(8),
  steps: integer(1, 1000).default(24),
  order: z.enum(orders, { error: `must be one of ${orders.join(', ')}` }).default('random'),
  blockLength: integer(1, 4096).optional(),
  guesses: integer(1, 64).default(1),
  resampling: z
    .enum(resamplingSchemes, { error: `must be one of ${resamplingSchemes.join(', ')}` })
    .default('multinomial'),
  essThreshold: number(0, 1).default(1),
  lambdaClip: number(0, 10000).default(100),
  lambdaEdit: number(0, 10000).default(20),
  temperature: z
    .number({ error: temperature })
    .refine((t) => t === 0 || (t >= 0.06 && t <= 10), temperature)
    .default(1),
  topK: integer(1, 2 ** 24).optional(),
  topP: z
    .number({ error: topP })
    .refine((p) => p > 0 && p <= 1, topP)
    .default(1),
  couplingOver: z.enum(['text', 'all'], { error: 'must be "text" or "all"' }).default('text'),
  seed: z
    .union(
      [
        z.int(seed).min(0, seed),
        z
          .bigint()
          .min(0n, seed)
          .max((1n << 64n) - 1n, seed),
      ],
      { error: seed },
    )
    .default(0),
  signal: z.instanceof(AbortSignal, { error: 'must be an AbortSignal' }).optional(),
  onStep: z
    .custom<(step: TraceStep, index: number) => unknown>((f) => typeof f === 'function', 'must be a function')
    .optional(),
});

/** Options of a call over many images. */
export const invertAllSchema = invertSchema.extend({ maxBatch: integer(1, 65536).optional() });

/** Rows of a forward where nothing else is said. */
const defaultRows = 64;

/** {@link InvertOptions} with every default filled in, and what they come to for a model. */
export type ResolvedOptions = z.output<typeof invertSchema> & {
  minLength: number;
  blockLength: number;
  /** [length] the fixed token of a position, −1 where it is free. */
  pinned: Int32Array;
  /** Ids that no position may hold. */
  suppressed: Int32Array;
  restrictions: NativeRestriction[];
  bans: BanList | undefined;
};

function fail(message: string): never {
  throw new FkinvError('INVALID_OPTION', `options of invert: ${message}`);
}

/** `options` without the keys that are undefined. */
function given<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/**
 * Validates `options` for a model, whose own defaults come before the package's. Throws `INVALID_OPTION`,
 * `TEMPLATE_INVALID` or `IDENTICAL_PARTICLES`.
 */
export function resolveOptions(options: InvertOptions, dllm: Dllm): ResolvedOptions {
  validate(invertSchema, options, 'options of invert');
  if (options.template !== undefined && options.length !== undefined) {
    fail('length: cannot be given with template, which has a length of its own');
  }
  const defaults = { length: dllm.fixedLength ?? Math.min(28, dllm.maxLength), ...dllm.defaults };
  const resolved = invertSchema.parse({ ...defaults, ...given(options) });
  const template =
    resolved.template === undefined ? undefined : parseTemplate(resolved.template, dllm.tokenizer, dllm.maxLength);
  const length = template?.length ?? resolved.length;
  if (length > dllm.maxLength) fail(`length: ${length} is over the model's limit of ${dllm.maxLength} positions`);
  if (dllm.fixedLength !== undefined && length !== dllm.fixedLength) {
    fail(`length: ${length} is not ${dllm.fixedLength}, the only one the model takes`);
  }
  const { minLength = Math.min(4, length), blockLength = length } = resolved;
  if (minLength > length) fail(`minLength: ${minLength} is over length, ${length}`);
  checkBlocks(length, blockLength, resolved.steps);
  checkParticlesDiffer(resolved);
  const words = resolved.banned.filter((entry) => typeof entry === 'string');
  const pinned = template?.pinned ?? new Int32Array(length).fill(-1);
  const all = {
    ...resolved,
    length,
    minLength,
    blockLength,
    pinned,
    suppressed: suppressedBy(resolved.banned, dllm),
    restrictions: restrictionsOf(dllm, pinned, minLength, template ?? { afterSpace: [] }),
    bans: words.length > 0 ? new BanList(words, dllm) : undefined,
  };
  checkFixedText(all, dllm);
  return all;
}

function checkBlocks(length: number, blockLength: number, steps: number): void {
  if (blockLength > length) fail(`blockLength: ${blockLength} is over length, ${length}`);
  const blocks = Math.ceil(length / blockLength);
  if (steps % blocks !== 0) {
    fail(`steps: ${steps} is no multiple of ${blocks}, the blocks of ${blockLength} in ${length} positions`);
  }
}

function checkParticlesDiffer({ order, temperature, topK, particles }: z.output<typeof invertSchema>): void {
  if (particles === 1 || order === 'random' || (temperature !== 0 && topK !== 1)) return;
  const what = temperature === 0 ? 'temperature 0' : 'topK 1';
  throw new FkinvError(
    'IDENTICAL_PARTICLES',
    `options of invert: ${what} with order ${order} makes all ${particles} particles equal: ` +
      'use order random, a temperature above 0, or one particle',
  );
}

function suppressedBy(banned: (string | number)[], dllm: Dllm): Int32Array {
  const ids = banned.filter((entry) => typeof entry === 'number');
  const unknown = ids.find((id) => id >= dllm.vocab);
  if (unknown !== undefined) fail(`banned: ${unknown} is no token id: the model has ${dllm.vocab}`);
  return Int32Array.from(new Set([...dllm.suppressed, ...ids]));
}

/** Where the prompt must not end, and where a word must begin. */
function restrictionsOf(
  dllm: Dllm,
  pinned: Int32Array,
  minLength: number,
  { afterSpace }: Pick<Template, 'afterSpace'>,
): NativeRestriction[] {
  const end = Math.max(
    minLength,
    pinned.findLastIndex((id) => id >= 0),
    ...afterSpace,
  );
  const stops = { ids: Int32Array.from(dllm.stops), at: Uint8Array.from(pinned, (_, n) => (n < end ? 1 : 0)) };
  if (afterSpace.length === 0) return [stops];
  const at = Uint8Array.from(pinned, (_, n) => (afterSpace.includes(n) ? 1 : 0));
  return [stops, { ids: Int32Array.from(dllm.withoutSpace), at }];
}

function checkFixedText({ pinned, suppressed, bans, template }: ResolvedOptions, dllm: Dllm): void {
  const row = Array.from(pinned, (id) => (id < 0 ? dllm.maskId : id));
  const token = pinned.find((id) => id >= 0 && (suppressed.includes(id) || dllm.stops.includes(id)));
  if (token === undefined && bans?.violates(row) !== true) return;
  const what = token === undefined ? 'a banned word' : `token ${token}, which is banned or ends a prompt`;
  throw new FkinvError('TEMPLATE_INVALID', `template: the fixed text of "${template ?? ''}" has ${what}`);
}

/**
 * Rows that one forward may have. Throws `BATCH_TOO_LARGE` when the particles of an image are more, or `maxBatch` is over
 * what the model takes.
 */
export function rowsOfForward(maxBatch: number | undefined, particles: number, dllm: Dllm): number {
  const limit = dllm.maxBatch ?? Infinity;
  const rows = maxBatch ?? Math.min(limit, Math.max(defaultRows, particles));
  if (rows > limit) {
    throw new FkinvError(
      'BATCH_TOO_LARGE',
      `maxBatch: ${rows} is over the ${limit} rows that a forward of the model may have (maxBatch of its fkinv.json)`,
    );
  }
  if (particles > rows) {
    const whose =
      maxBatch === undefined ? 'a forward of the model may have (maxBatch of its fkinv.json)' : 'maxBatch allows';
    throw new FkinvError(
      'BATCH_TOO_LARGE',
      `particles: the ${particles} of an image share a forward, and are over the ${rows} rows that ${whose}`,
    );
  }
  return rows;
}

/** What images must have in common to share forwards: all options but the seed. */
export function sharingKey(options: ResolvedOptions): string {
  const keys = Object.keys(invertSchema.shape).filter((key) => !['seed', 'signal', 'onStep'].includes(key));
  return JSON.stringify(options, [...keys, ...keys.keys()].map(String)); // the list's own entries have numbers for keys
}
