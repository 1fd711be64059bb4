import { FkinvError, messageOf } from './errors';
import type { ImageInput, PreparedImage } from './image';
import type { Inversion } from './inversion';
import type { NativeRecorder } from './native';
import type { Recording } from './recording';
import type { ResolvedOptions } from './resolved-options';
import { sample, type Models, type Reference, type Sampled } from './sampler';
import { Stopwatch } from './stopwatch';

/** One image of a call: one picture, or several as one reference. */
export interface Job {
  pictures: readonly ImageInput[];
  seed: number | bigint;
  /** Its place in the call. */
  index: number;
}

/**
 * Inverts images in flight together, with the same options but for their seeds. Results are in the order of `jobs`; an
 * image that fails gives its error in its place. What it does is added to `recording`. Throws what stops all of them.
 */
export async function invertTogether(
  models: Models,
  jobs: Job[],
  options: ResolvedOptions,
  recording?: Recording,
): Promise<(Inversion | FkinvError)[]> {
  const stopwatch = new Stopwatch(recording);
  const encoded = await encodeImages(models, jobs, options, stopwatch);
  const references = jobs.flatMap(({ seed, index }, i): Reference[] => {
    const found = encoded[i];
    return found === undefined || found instanceof FkinvError ? [] : [{ ...found, seed: BigInt(seed), index }];
  });
  const sampled = references.length > 0 ? await sample(models, references, options, stopwatch) : [];
  const bySampledIndex = new Map(references.map(({ index }, i) => [index, sampled[i]]));
  const timings = {
    total: stopwatch.total,
    images: references.length,
    forwards: stopwatch.forwards,
    stages: stopwatch.stages,
  };
  return jobs.map(({ seed, index }, i) => {
    const found = encoded[i];
    if (found instanceof FkinvError) return found;
    const result = bySampledIndex.get(index) ?? new FkinvError('INTERNAL', 'the sampler lost an image');
    return result instanceof FkinvError ? result : inversionOf(models, result, seed, timings);
  });
}

/** A job's pictures, prepared for CLIP, and the one that the dLLM's own tower takes, if it has a tower. */
interface Prepared {
  pictures: PreparedImage[];
  own: PreparedImage | undefined;
}

type Encoded = Pick<Reference, 'embeds' | 'condition'>;

/** What the models make of each job's pictures, or why there is nothing. */
async function encodeImages(
  models: Models,
  jobs: Job[],
  { signal }: ResolvedOptions,
  stopwatch: Stopwatch,
): Promise<(Encoded | FkinvError)[]> {
  const prepared = await stopwatch.time('decodeImage', () =>
    Promise.all(jobs.map((job) => orError(prepare(models, job)))),
  );
  signal?.throwIfAborted();
  const recorder = stopwatch.recording?.recorder;
  return stopwatch.time('encodeImage', () =>
    Promise.all(
      prepared.map(async (one) => (one instanceof FkinvError ? one : orError(encode(models, one, recorder)))),
    ),
  );
}

async function prepare({ clip, dllm }: Models, { pictures }: Job): Promise<Prepared> {
  const [own, ...prepared] = await Promise.all([
    dllm.prepare(pictures),
    ...pictures.map((picture) => clip.prepare(picture)),
  ]);
  return { own, pictures: prepared };
}

async function encode(
  { clip, dllm }: Models,
  { own, pictures }: Prepared,
  recorder: NativeRecorder | undefined,
): Promise<Encoded> {
  const [condition, ...embeds] = await Promise.all([
    dllm.encodeImage(own, recorder),
    ...pictures.map((picture) => clip.encodeImage(picture, recorder)),
  ]);
  return { condition, embeds };
}

/** What stops one image is a result; what stops the engine is thrown. */
async function orError<T>(work: Promise<T>): Promise<T | FkinvError> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof FkinvError)) throw new FkinvError('INTERNAL', messageOf(error), { cause: error });
    if (error.code === 'DISPOSED' || error.code === 'ABORTED') throw error;
    return error;
  }
}

function inversionOf(
  { clip }: Models,
  { particles, coupling, trace }: Sampled,
  seed: number | bigint,
  timings: Inversion['timings'],
): Inversion {
  const best = particles[0];
  if (best === undefined) throw new FkinvError('INTERNAL', 'the sampler gave no particle');
  const { prompt, rewardClip, rewardEdit, reward, logProb, tokens } = best;
  const warnings = clip.overflows(prompt)
    ? [`the prompt is longer than the ${clip.maxWidth} tokens CLIP reads: its end did not count in rewardClip`]
    : [];
  return {
    prompt,
    rewardClip,
    rewardEdit,
    reward,
    logProb,
    tokens,
    coupling,
    particles,
    trace,
    seed,
    timings,
    warnings,
  };
}
