import { z } from 'zod';
import { FkinvError } from './errors';
import type { TraceStep } from './inversion';
import { integer, number, validate } from './validate';

/** Options of {@link Inverter.invert}. Defaults were chosen on the embedded demo models. */
export interface InvertOptions {
  /** Prompt positions N, in dLLM tokens: the longest a prompt can be. 1 to the model's own limit (32 for the demo); default 28. */
  length?: number;
  /** Positions at the start that cannot end the prompt. 1 to `length`; default 4, or `length` if that is less. Equal to `length` it is an exact budget. */
  minLength?: number;
  /** Particles K. 1 to 1024; default 8. */
  particles?: number;
  /** Denoising steps T; the dLLM runs T + 1 times. 1 to 1000; default 24. */
  steps?: number;
  /** λ_CLIP, weight of the alignment reward. 0 (off) to 10000; default 100. */
  lambdaClip?: number;
  /** λ_edit, weight of the disentanglement reward. 0 (off) to 10000; default 20. */
  lambdaEdit?: number;
  /** τ of the draws. 0 (the argmax) or 0.06 to 10; default 1, the model itself. Otherwise importance weights correct for it. */
  temperature?: number;
  /** Which positions count in the disentanglement reward: the `text` before the prompt's end (default), or `all`. */
  couplingOver?: 'text' | 'all';
  /** Seed of every random draw, 0 to 2⁶⁴ − 1; default 0. Equal seeds give equal results. */
  seed?: number | bigint;
  /** Aborts the inversion: it rejects with code `ABORTED` and the signal's reason as its cause. */
  signal?: AbortSignal;
  /** Called after each step, T + 1 times, and awaited. What it throws rejects the inversion. */
  onStep?: (step: TraceStep) => unknown;
}

const temperature = 'must be 0 or a number from 0.06 to 10';
const seed = 'must be a whole number from 0 to 2^64 − 1 (above 2^53 − 1 as a bigint)';

/** The options, their ranges and defaults: lib/cli/invert.ts holds its flags to the same schema. */
export const invertSchema = z.strictObject({
  length: integer(1, 4096).default(28),
  minLength: integer(1, 4096).optional(),
  particles: integer(1, 1024).default(8),
  steps: integer(1, 1000).default(24),
  lambdaClip: number(0, 10000).default(100),
  lambdaEdit: number(0, 10000).default(20),
  temperature: z
    .number({ error: temperature })
    .refine((t) => t === 0 || (t >= 0.06 && t <= 10), temperature)
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
  onStep: z.custom<(step: TraceStep) => unknown>((f) => typeof f === 'function', 'must be a function').optional(),
});

/** {@link InvertOptions} with every default filled in. */
export type ResolvedOptions = z.output<typeof invertSchema> & { minLength: number };

/** Validates `options` for a model of at most `maxLength` positions. Throws `INVALID_OPTION`. */
export function resolveOptions(options: InvertOptions, maxLength: number): ResolvedOptions {
  const resolved = validate(invertSchema, options, 'options of invert');
  const { length, minLength = Math.min(4, length) } = resolved;
  const fail = (message: string): never => {
    throw new FkinvError('INVALID_OPTION', `options of invert: ${message}`);
  };
  if (length > maxLength) fail(`length: ${length} is over the model's limit of ${maxLength} positions`);
  if (minLength > length) fail(`minLength: ${minLength} is over length, ${length}`);
  return { ...resolved, minLength };
}
