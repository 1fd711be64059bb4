import { FkinvError, messageOf } from '../errors';
import type { PictureMemory } from '../images/budget';
import type { ImageInput } from '../images/image';
import type { PreparedImage } from '../images/pixels';
import { preparePicture } from '../images/prepare';
import type { Inversion } from '../inversion';
import type { Hints } from '../hints/hints';
import type { NativeTensor } from '../native/addon';
import type { Recording } from '../profiling/recording';
import type { ResolvedOptions } from '../sampling/resolved-options';
import { rewardsOf } from '../sampling/rewards/list';
import { sample, type Reference, type Sampled } from '../sampling/sampler';
import { Ended, failureOf, type Listener } from '../sampling/listener';
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

/** An image as the sampler takes it, with what only its result tells. */
interface Encoded extends Reference {
  suffix: number[];
  hints: string[];
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
  hints: Hints,
  recording?: Recording,
): Promise<(Inversion | FkinvError | Ended)[]> {
  const stopwatch = new Stopwatch(recording);
  for (const { listener } of jobs) {
    listener.onEnded = () => listener.ended && listener.onLeftOut(listener.ended); // embedding words may take long
  }
  const encoded = await encode(models, jobs, options, { hints, stopwatch });
  for (const { listener } of jobs) listener.onEnded = () => undefined;
  for (const [i, one] of encoded.entries()) {
    if (one instanceof FkinvError) jobs[i]?.listener.onLeftOut(one);
  }
  const decoding = { ms: jobs.reduce((sum, { prepared }) => sum + prepared.ms, 0), calls: jobs.length };
  const results: (Inversion | FkinvError | Ended)[] = encoded.map((one) =>
    one instanceof FkinvError ? one : new FkinvError('INTERNAL', 'the sampler lost an image'),
  );
  const invertGroup = async (group: number[]): Promise<void> => {
    const own = new Stopwatch(recording);
    const references = group.flatMap((i) => {
      const one = encoded[i];
      return one === undefined || one instanceof FkinvError ? [] : [one];
    });
    const sampled = await sample(models, references, options, own, references[0]?.suffix).catch((error: unknown) =>
      group.map(() => failureOf(error)),
    );
    const total = stopwatch.total;
    const stages = { decodeImage: decoding, ...stopwatch.stages, ...own.stages };
    for (const [at, i] of group.entries()) {
      const result = sampled[at];
      const job = jobs[i];
      if (result === undefined || job === undefined) continue;
      const { ms } = job.prepared;
      const timings = { total: ms + total, images: group.length, forwards: own.forwards, stages };
      const isOver = result instanceof FkinvError || result instanceof Ended;
      results[i] = isOver ? result : inversionOf(models, result, job, references[at]?.hints ?? [], timings);
    }
  };
  await Promise.all(groupsOf(encoded).map(invertGroup));
  return results;
}

/**
 * The images that can be sampled together, by their places: those with as many ids before the prompt, and the same behind it. Hints are of
 * any length, so there may be several groups; they take turns on the engine, as cohorts do.
 */
function groupsOf(encoded: readonly (Encoded | FkinvError)[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const [i, one] of encoded.entries()) {
    if (one instanceof FkinvError) continue;
    const key = `${one.prefix.length} ${one.suffix.join(' ')}`;
    groups.set(key, [...(groups.get(key) ?? []), i]);
  }
  return [...groups.values()];
}

/** What the models see of each image, and what the dLLM is told of it. */
async function encode(
  models: Models,
  jobs: readonly PreparedJob[],
  options: ResolvedOptions,
  { hints, stopwatch }: { hints: Hints; stopwatch: Stopwatch },
): Promise<(Encoded | FkinvError)[]> {
  const { clip, dllm } = models;
  const recorder = stopwatch.recording?.recorder;
  const seen = await stopwatch.time('encodeImage', () =>
    eachOf(jobs, ({ prepared: { own, pictures } }) =>
      Promise.all([
        dllm.encodeImage(own, recorder),
        Promise.all(pictures.map((picture) => clip.encodeImage(picture, recorder))),
      ]),
    ),
  );
  const ofImage = async (job: PreparedJob, i: number): Promise<Encoded | FkinvError> => {
    const one = seen[i] ?? new FkinvError('INTERNAL', 'an image was lost');
    if (one instanceof FkinvError) return one;
    const [condition, embeds] = one;
    const found = options.hints === 0 ? [] : await hintsOf(models, embeds, options, hints, job);
    const { seed, listener } = job;
    const row = dllm.around(options, found, condition);
    return { embeds, features: condition.features, seed: BigInt(seed), listener, ...row };
  };
  return options.hints === 0 ? eachOf(jobs, ofImage) : stopwatch.time('hints', () => eachOf(jobs, ofImage));
}

async function hintsOf(
  models: Models,
  embeds: readonly NativeTensor[],
  { hints: most }: ResolvedOptions,
  hints: Hints,
  { listener }: PreparedJob,
): Promise<string[]> {
  const references = await Promise.all(embeds.map((embed) => embed.read()));
  return hints.of(references, most, models, listener);
}

/** What `work` gives for each of `jobs`, or the error that one fails with. */
function eachOf<T>(
  jobs: readonly PreparedJob[],
  work: (job: PreparedJob, i: number) => Promise<T>,
): Promise<(T | FkinvError)[]> {
  return Promise.all(jobs.map((job, i) => orError(() => work(job, i))));
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
  { seed, prepared: { warnings } }: PreparedJob,
  hints: string[],
  timings: Inversion['timings'],
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
    hints,
    seed,
    timings,
    warnings: [...warnings, ...ofPrompt],
  };
}
