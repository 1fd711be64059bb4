import { FkinvError, messageOf } from '../errors';
import type { PictureMemory } from '../images/budget';
import type { ImageInput } from '../images/image';
import type { PreparedImage } from '../images/pixels';
import { preparePicture } from '../images/prepare';
import type { Inversion } from '../inversion';
import type { NativeRecorder } from '../native/addon';
import type { Recording } from '../profiling/recording';
import type { ResolvedOptions } from '../sampling/resolved-options';
import { rewardsOf } from '../sampling/rewards/list';
import { sample, type Reference, type Sampled } from '../sampling/sampler';
import { Ended, type Listener } from '../sampling/listener';
import type { Models } from '../models/replicas';
import { Stopwatch } from '../profiling/stopwatch';

/** What is to be inverted: one picture, or several as one reference. */
export interface Job {
  pictures: readonly ImageInput[];
  /** The job's own seed: the images of a call may share `options`, whose seed is another. */
  seed: number | bigint;
  options: ResolvedOptions;
  listener: Listener;
}

/** A job's pictures as the models take them: as CLIP does, and as the dLLM's own tower does, if it has one. */
export interface Prepared {
  pictures: PreparedImage[];
  own: PreparedImage | undefined;
  /** Warnings for the user, such as faults that the decoder passed over. */
  warnings: string[];
  /** Milliseconds that decoding and preparing took. */
  ms: number;
}

/** A job whose pictures are decoded. */
export type PreparedJob = Pick<Job, 'seed' | 'listener'> & { prepared: Prepared };

/** Decodes a job's pictures within `memory`, in threads of the image library. Resolves to the image's error where they cannot be. */
export function prepare(
  { clip, dllm }: Models,
  { pictures, listener }: Job,
  memory: PictureMemory,
  recording?: Recording,
): Promise<Prepared | FkinvError> {
  const start = performance.now();
  return orError(async () => {
    const ofTower = dllm.preprocessorFor(pictures.length);
    const configs = [clip.preprocessor, ...(ofTower === undefined ? [] : [ofTower])];
    const prepared = await Promise.all(pictures.map((picture) => preparePicture(picture, configs, memory, listener)));
    recording?.add('decodeImage', start);
    const ofClip = prepared.flatMap(({ images }) => images.slice(0, 1));
    const warnings = prepared.flatMap((picture, i) =>
      picture.warnings.map((warning) => (pictures.length > 1 ? `image ${i + 1}: ${warning}` : warning)),
    );
    const ms = performance.now() - start;
    return { own: prepared[0]?.images[1], pictures: ofClip, warnings, ms };
  });
}

/**
 * Inverts images in flight together, with the same options but for their seeds and listeners. Results are in the order of
 * `jobs`; an image that fails gives its error in its place, one that its caller ended {@link Ended}. What it does is added
 * to `recording`. Throws what stops all of them.
 */
export async function invertTogether(
  models: Models,
  jobs: readonly PreparedJob[],
  options: ResolvedOptions,
  recording?: Recording,
): Promise<(Inversion | FkinvError | Ended)[]> {
  const stopwatch = new Stopwatch(recording);
  const recorder = recording?.recorder;
  const encoded = await stopwatch.time('encodeImage', () =>
    Promise.all(jobs.map((job) => orError(() => encode(models, job, recorder)))),
  );
  for (const [i, one] of encoded.entries()) {
    if (one instanceof FkinvError) jobs[i]?.listener.onLeftOut(one);
  }
  const good = encoded.flatMap((one, i) => (one instanceof FkinvError ? [] : [i]));
  const references = encoded.flatMap((one) => (one instanceof FkinvError ? [] : [one]));
  const sampled = references.length > 0 ? await sample(models, references, options, stopwatch) : [];
  const decoding = jobs.reduce((sum, { prepared }) => sum + prepared.ms, 0);
  const timings = {
    images: references.length,
    forwards: stopwatch.forwards,
    stages: { decodeImage: { ms: decoding, calls: jobs.length }, ...stopwatch.stages },
  };
  const total = stopwatch.total;
  const byJob = new Map(good.map((job, i) => [job, sampled[i]]));
  return jobs.map(({ seed, prepared: { ms, warnings } }, i) => {
    const fault = encoded[i];
    if (fault instanceof FkinvError) return fault;
    const result = byJob.get(i) ?? new FkinvError('INTERNAL', 'the sampler lost an image');
    if (result instanceof FkinvError || result instanceof Ended) return result;
    return inversionOf(models, result, { seed, warnings, timings: { total: ms + total, ...timings } });
  });
}

async function encode(
  { clip, dllm }: Models,
  { prepared: { own, pictures }, seed, listener }: PreparedJob,
  recorder: NativeRecorder | undefined,
): Promise<Reference> {
  const [condition, ...embeds] = await Promise.all([
    dllm.encodeImage(own, recorder),
    ...pictures.map((picture) => clip.encodeImage(picture, recorder)),
  ]);
  return { condition, embeds, seed: BigInt(seed), listener };
}

/** What stops one image is a result; what stops the engine is thrown. */
async function orError<T>(work: () => Promise<T>): Promise<T | FkinvError> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof FkinvError)) throw new FkinvError('INTERNAL', messageOf(error), { cause: error });
    if (error.code === 'DISPOSED') throw error;
    return error;
  }
}

function inversionOf(
  { clip }: Models,
  { particles, coupling, trace }: Sampled,
  { seed, warnings, timings }: Pick<Inversion, 'seed' | 'warnings' | 'timings'>,
): Inversion {
  const best = particles[0];
  if (best === undefined) throw new FkinvError('INTERNAL', 'the sampler gave no particle');
  const { prompt, reward, logProb, tokens } = best;
  const ofPrompt = clip.overflows(prompt)
    ? [`the prompt is longer than the ${clip.maxWidth} tokens CLIP reads: its end did not count in rewardClip`]
    : [];
  return {
    prompt,
    ...rewardsOf(best),
    reward,
    logProb,
    tokens,
    coupling,
    particles,
    trace,
    seed,
    timings,
    warnings: [...warnings, ...ofPrompt],
  };
}
