import { z } from 'zod';
import type { TraceStep } from './inversion';
import { rewards, type RewardOptions } from './sampling/rewards/list';
import { lambdaRange } from './sampling/rewards/reward';
import { orders, resamplingSchemes, type Order, type ResamplingScheme } from './schemes';
import { integer, number } from './util/validate';

/**
 * The device that models run on: `cpu`; `cuda`, which is every GPU that can be used; `cuda:1` and so on, that GPU alone, as CUDA
 * counts them; `auto`, which is `cuda` where there is a GPU that can be used, else `cpu`.
 */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

/** @internal A {@link Device}. */
export const deviceSchema = z.custom<Device>(
  (name) => typeof name === 'string' && /^(auto|cpu|cuda(:\d{1,3})?)$/.test(name),
  'must be auto, cpu, cuda or cuda:<number>',
);

/** @internal How many threads an engine may have. */
export const threadsSchema = integer(1, 256);

/** @internal How many bytes decoded pictures may take at a time. */
export const maxPixelBytesSchema = integer(1, 2 ** 40);

/** Options of one image. Defaults were chosen on the embedded demo models; a model's `fkinv.json` may have its own. */
export interface ImageOptions extends RewardOptions {
  /**
   * Prompt positions N, in dLLM tokens: the longest a prompt can be. 1 to the model's own limit (32 for the demo); default
   * 28, or the limit if that is less. Not with `template`.
   */
  length?: number;
  /**
   * Positions at the start that cannot end the prompt. 1 to `length`; default 4, or `length` if that is less. Where it equals
   * `length`, every prompt has exactly so many tokens.
   */
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
  /**
   * What the dLLM is asked for, in place of the sentence in its chat template: `"Describe the light and the mood."`. Plain text, not
   * empty. Only for a dLLM whose manifest has a place for it; default what the manifest says.
   */
  instruction?: string;
  /**
   * Words that CLIP finds in the image, best first, which stand in the instruction: how a dLLM that does not see the image is told of
   * it. 0 (none) to 20; default 5 for a dLLM without an image condition whose manifest has a place for them, else 0.
   */
  hints?: number;
  /** Positions of a block; block b opens only after block b − 1. 1 to `length`; default `length`, one block. `steps` must be a multiple of the number of blocks. */
  blockLength?: number;
  /** Clean guesses φ of each particle at each step; the rewards of a step are the log-mean-exp of theirs. 1 to 64; default 1. */
  guesses?: number;
  /** How ancestors are drawn: `multinomial` (default), `stratified`, `residual` or `systematic`. */
  resampling?: ResamplingScheme;
  /** Resample when the effective sample size is below this share of K. 0 (never) to 1 (always, the default); weights are carried over otherwise. */
  essThreshold?: number;
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
  /**
   * Called with a copy of each step of each image as it is done; `index` is the image's place in the call. Nothing waits for it:
   * while the promise that it gave for an image is pending, only the newest step of that image is kept for it. So a quick
   * function hears of T + 1 steps, a slow one of fewer, and of the last as soon as it is free, which may be after the result.
   * What it throws rejects the call while the image is not done, and is ignored afterwards.
   */
  onStep?: (step: TraceStep, index: number) => unknown;
}

/** Options of {@link Inverter.invertAll}. */
export interface InvertAllOptions extends InvertOptions {
  /**
   * The most particles in flight on an engine, rows of its forwards: ⌊maxBatch / particles⌋ images. `particles` to 65536;
   * default 64, or `particles` if that is more, or what the model's `fkinv.json` allows if that is less.
   */
  maxBatch?: number;
  /** Results come in the images' order; `false` (see {@link AsFinishedOptions}) gives each as it finishes. Default true. */
  ordered?: true;
}

/** Options of {@link Inverter.invertAll} for results as they finish, each with its image's place. */
export interface AsFinishedOptions extends Omit<InvertAllOptions, 'ordered'> {
  /** `false`: each result comes as soon as it is there, whatever its image's place. */
  ordered: false;
}

const temperature = 'must be 0 or a number from 0.06 to 10';
const topP = 'must be a number above 0, to 1';
const seed = 'must be a whole number from 0 to 2^64 − 1 (above 2^53 − 1 as a bigint)';
const instruction = 'must be a text, and not empty';
const banned = 'must be a list of words and token ids';

const lambdaShape = Object.fromEntries(
  rewards.map(({ option, lambda }) => [option, number(...lambdaRange).default(lambda)]),
) as Record<keyof RewardOptions, z.ZodDefault<z.ZodNumber>>;

/** @internal The options, their ranges and defaults: lib/cli/invert-flags.ts holds its flags to the same schema. */
export const invertSchema = z.strictObject({
  length: integer(1, 4096).default(28),
  minLength: integer(1, 4096).optional(),
  template: z.string({ error: 'must be a text' }).optional(),
  banned: z
    .array(z.union([z.string(), z.int(banned).min(0, banned)], { error: banned }), { error: banned })
    .default([]),
  instruction: z
    .string({ error: instruction })
    .refine((text) => text.trim() !== '', instruction)
    .optional(),
  hints: integer(0, 20).default(0),
  particles: integer(1, 1024).default(8),
  steps: integer(1, 1000).default(24),
  order: z.enum(orders, { error: `must be one of ${orders.join(', ')}` }).default('random'),
  blockLength: integer(1, 4096).optional(),
  guesses: integer(1, 64).default(1),
  resampling: z
    .enum(resamplingSchemes, { error: `must be one of ${resamplingSchemes.join(', ')}` })
    .default('multinomial'),
  essThreshold: number(0, 1).default(1),
  ...lambdaShape,
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

/** @internal Options of a call over many images. */
export const invertAllSchema = invertSchema.extend({
  maxBatch: integer(1, 65536).optional(),
  ordered: z.boolean({ error: 'must be true or false' }).default(true),
});
