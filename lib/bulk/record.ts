import { z } from 'zod';
import { FkinvError } from '../errors';
import type { Inversion } from '../inversion';
import type { ResolvedOptions } from '../sampling/resolved-options';
import { invertSchema } from '../options';
import { eachReward, rewardsOf, type RewardValues } from '../sampling/rewards/list';

/** What images are inverted with. It is the same for all records of a file. */
export interface Provenance {
  seed: number | string;
  /** Every option of the sampler, defaults filled in. */
  options: Record<string, unknown>;
  /** SHA-256 of each model's files, as `sha256sum` lists them, and of the list of words for hints where one was given. */
  models: { dllm: string; clip: string; hintWords?: string | undefined };
}

/** What came of an image: a line of the results. */
export type ImageRecord = Provenance & { image: string } & (DoneRecord | FailedRecord);

export interface DoneRecord extends RewardValues {
  prompt: string;
  reward: number;
  logProb: number;
  hints: string[];
  warnings: string[];
  /** Milliseconds, images that went through the steps together, and forwards of the dLLM for all of them. */
  timings: { total: number; images: number; forwards: number };
}

export interface FailedRecord {
  error: { code: string; message: string };
}

const provenance = {
  seed: z.union([z.number(), z.string()]),
  options: z.record(z.string(), z.unknown()),
  models: z.object({ dllm: z.string(), clip: z.string(), hintWords: z.string().optional() }),
};

/** A line of the results, as it is read. */
export const recordSchema = z.union([
  z.object({ image: z.string(), error: z.object({ code: z.string(), message: z.string() }), ...provenance }),
  z.object({
    image: z.string(),
    prompt: z.string(),
    ...eachReward(() => z.number()),
    reward: z.number(),
    logProb: z.number(),
    hints: z.array(z.string()),
    warnings: z.array(z.string()),
    timings: z.object({ total: z.number(), images: z.number(), forwards: z.number() }),
    ...provenance,
  }),
]) satisfies z.ZodType<ImageRecord>;

/** The provenance of results: those of `options` that results depend on. A bigint seed becomes a text, as JSON has no bigint. */
export function provenanceOf(options: ResolvedOptions, models: Provenance['models']): Provenance {
  const own = new Set(['seed', 'signal', 'onStep']);
  const kept = Object.keys(invertSchema.shape).filter((key) => !own.has(key));
  const given = Object.fromEntries(kept.map((key) => [key, options[key as keyof ResolvedOptions]]));
  const { seed } = options;
  return {
    seed: typeof seed === 'bigint' ? String(seed) : seed,
    options: JSON.parse(JSON.stringify(given)) as Record<string, unknown>, // the same values that reading a record gives
    models,
  };
}

/** The record of what an image came to. */
export function recordOf(image: string, result: Inversion | FkinvError, provenance: Provenance): ImageRecord {
  if (result instanceof FkinvError) {
    return { image, error: { code: result.code, message: result.message }, ...provenance };
  }
  const { prompt, reward, logProb, hints, warnings, timings } = result;
  const { total, images, forwards } = timings;
  return {
    image,
    prompt,
    ...rewardsOf(result),
    reward,
    logProb,
    hints,
    warnings,
    ...provenance,
    timings: { total, images, forwards },
  };
}

/**
 * Names the first thing in which `found` differs from `wanted`, such as `seed` or `options.steps`; undefined where there is
 * none.
 */
export function differenceOf(found: Provenance, wanted: Provenance): string | undefined {
  const flat = ({ seed, options, models }: Provenance): [string, unknown][] => [
    ['seed', seed],
    ...Object.entries(options).map(([name, value]): [string, unknown] => [`options.${name}`, value]),
    ...Object.entries(models).map(([name, value]): [string, unknown] => [`models.${name}`, value]),
  ];
  const other = new Map(flat(found));
  const mine = new Map(flat(wanted));
  const differs = (name: string): boolean => JSON.stringify(other.get(name)) !== JSON.stringify(mine.get(name));
  return [...new Set([...mine.keys(), ...other.keys()])].find(differs);
}

/** Whether a file that begins so is one of records: each is a line that begins with its image. */
export function isOfRecords(beginning: string): boolean {
  return beginning.startsWith('{"image":');
}
