import { Delivery } from './delivery';
import type { Dllm } from '../models/dllm';
import { FkinvError, messageOf } from '../errors';
import { isRaw, type ImageInput } from '../images/image';
import type { Finished } from '../inversion';
import {
  invertSchema,
  type AsFinishedOptions,
  type ImageOptions,
  type InvertAllOptions,
  type InvertOptions,
} from '../options';
import { Listener } from '../sampling/listener';
import { resolveOptions, rowsOfForward, type ResolvedOptions } from '../sampling/resolved-options';
import { Call, type Result, type Scheduler } from './scheduler';
import { iterableSchema, Source } from './source';
import type { Job } from './together';
import { validate } from '../util/validate';

/** An image of {@link Inverter.invertAll} with options of its own, which go before the call's. */
export interface ImageJob extends ImageOptions {
  /** The image, or a list of at least one whose CLIP embeddings are averaged to one reference. */
  image: ImageInput | readonly ImageInput[];
}

/** What {@link Inverter.invertAll} takes for each image. */
export type ImageItem = ImageInput | readonly ImageInput[] | ImageJob;

/** The images that {@link Inverter.invertAll} takes: an iterable or async iterable of items, or of promises of items. */
export type ImageItems = Iterable<ImageItem | PromiseLike<ImageItem>> | AsyncIterable<ImageItem>;

/** A call over many images: what its options come to, and what it runs on. */
interface ManyImages {
  /** The options as the caller gave them, for images that have options of their own. */
  given: InvertAllOptions | AsFinishedOptions;
  /** What those options come to for an image without options of its own. */
  options: ResolvedOptions;
  /** The most rows in flight on an engine. */
  rows: number;
  ordered: boolean;
  dllm: Dllm;
  engines: number;
  signal: AbortSignal;
}

/**
 * How many images may be read and not given yet for each one that can be in flight: that one, one that is decoded ahead, and,
 * where results come in order, one whose result waits for an image before it.
 */
const readAhead = { ordered: 3, asFinished: 2 };

/**
 * Inverts `items`, as many at a time as forwards have room for. The source is closed when the consumer stops, or when the
 * signal ends the call: then it rejects with the signal's reason, once the results that are done were given. Throws
 * `INVALID_OPTION`, at once, where `items` cannot be iterated over.
 * @internal
 */
export function invertAll(
  scheduler: Scheduler,
  items: ImageItems,
  many: ManyImages,
): AsyncGenerator<Finished, void, undefined> {
  return generate(scheduler, validate(iterableSchema, items, 'images'), many);
}

async function* generate(
  scheduler: Scheduler,
  items: object,
  many: ManyImages,
): AsyncGenerator<Finished, void, undefined> {
  const { options, rows, ordered, engines } = many;
  const left = new AbortController();
  const signal = AbortSignal.any([many.signal, left.signal]);
  const source = new Source(items, signal);
  const call = new Call(scheduler, { rows, signal });
  const invert = async (item: unknown, index: number): Promise<Result> => {
    const job = jobOf(item, index, many);
    return job instanceof FkinvError ? job : call.invert(job);
  };
  const limit = (ordered ? readAhead.ordered : readAhead.asFinished) * engines * Math.floor(rows / options.particles);
  const delivery = new Delivery(source, invert, limit, ordered);
  try {
    for (;;) {
      const finished = await delivery.next();
      if (finished === undefined) return;
      yield finished;
    }
  } finally {
    const closing = source.close();
    left.abort();
    call.close();
    await Promise.allSettled([closing, delivery.settled()]);
    await closing;
  }
}

const seedSchema = invertSchema.pick({ seed: true });

/** The job that an item of the iterable asks for, or why it cannot be done. */
function jobOf(item: unknown, index: number, { given, options, dllm }: ManyImages): Job | FkinvError {
  try {
    const { image, ...rest } = isJob(item) ? item : { image: item as ImageInput | readonly ImageInput[] };
    const own = withoutUndefined(rest);
    const pictures = picturesOf(image);
    const { onStep } = options;
    const listener = new Listener(onStep && ((step) => onStep(step, index)));
    if (Object.keys(own).every((option) => option === 'seed')) {
      const { seed } = validate(seedSchema, { seed: options.seed, ...own }, 'options of an image');
      return { pictures, seed, options, listener };
    }
    if ('signal' in own || 'onStep' in own) {
      throw new FkinvError('INVALID_OPTION', 'options of an image: signal and onStep are options of the call');
    }
    const ownOptions = resolveOptions(overriding(given, own), dllm);
    rowsOfForward(given.maxBatch, ownOptions.particles, dllm);
    return { pictures, seed: ownOptions.seed, options: ownOptions, listener };
  } catch (cause) {
    if (cause instanceof FkinvError) return cause;
    return new FkinvError('INVALID_OPTION', `image: cannot be read: ${messageOf(cause)}`, { cause });
  }
}

function withoutUndefined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** The options of an image over the call's. A template stands in place of a length, and the other way round. */
function overriding(given: ManyImages['given'], own: ImageOptions): InvertOptions {
  const ofCall: Partial<InvertAllOptions | AsFinishedOptions> = { ...given };
  delete ofCall.maxBatch;
  delete ofCall.ordered;
  const options: InvertOptions = { ...ofCall, ...own };
  if (own.template !== undefined && own.length === undefined) delete options.length;
  if (own.length !== undefined && own.template === undefined) delete options.template;
  return options;
}

function isJob(item: unknown): item is ImageJob {
  return typeof item === 'object' && item !== null && 'image' in item && !isRaw(item);
}

/** @internal The pictures of one reference: a copy, without holes. Throws `INVALID_OPTION` when there is none. */
export function picturesOf(image: ImageInput | readonly ImageInput[]): readonly ImageInput[] {
  const pictures = Array.isArray(image) ? Array.from(image as readonly ImageInput[]) : [image as ImageInput];
  if (pictures.length > 0) return pictures;
  throw new FkinvError('INVALID_OPTION', 'image: must be an image, or a list of at least one');
}
