import { Delivery, type Delivered } from './delivery';
import type { Dllm } from '../models/dllm';
import { FkinvError, messageOf } from '../errors';
import { isRaw, type ImageInput } from '../images/image';
import { invertSchema, type ImageOptions, type InvertAllOptions, type InvertOptions } from '../options';
import { given, resolveOptions, rowsOfForward, sharingKey, type ResolvedOptions } from '../sampling/resolved-options';
import type { Result } from './scheduler';
import { Call, type Scheduler, type Work } from './scheduler';
import { iterableSchema, Source } from './source';
import { validate } from '../util/validate';

/** An image of {@link Inverter.invertAll} with options of its own, which go before the call's. */
export interface ImageJob extends ImageOptions {
  /** The image, or several as one reference. */
  image: ImageInput | readonly ImageInput[];
}

/** What {@link Inverter.invertAll} takes for each image. */
export type ImageItem = ImageInput | readonly ImageInput[] | ImageJob;

/** Images, synchronous or asynchronous. */
export type ImageItems = Iterable<ImageItem | PromiseLike<ImageItem>> | AsyncIterable<ImageItem>;

/** What the images of a call have in common. */
interface Shared {
  dllm: Dllm;
  /** As they were given. */
  given: InvertOptions;
  /** Of an image without options of its own. */
  options: ResolvedOptions;
  key: string;
  maxBatch: number | undefined;
}

/**
 * Images that are read and not given, for each that can be in flight: that one, what is decoded ahead, and in order what
 * waits for one before it.
 */
const readAhead = { ordered: 3, asFinished: 2 };

/**
 * Inverts `items`, as many at a time as forwards have room for on `engines` engines. The source is closed when the consumer
 * stops, or when `signal` ends the call: then it rejects with the signal's reason, once the results that are done were given.
 * What the options of the call come to for the model is checked here, at once.
 * @internal
 */
export function invertAll(
  scheduler: Scheduler,
  { dllm, engines }: { dllm: Dllm; engines: number },
  items: ImageItems,
  options: Omit<InvertAllOptions, 'ordered'> & { ordered: boolean },
  signal: AbortSignal,
): AsyncGenerator<Delivered, void, undefined> {
  const { maxBatch, ordered, ...rest } = options;
  const left = new AbortController();
  const ended = AbortSignal.any([signal, left.signal]);
  const resolved = resolveOptions(rest, dllm);
  const rows = rowsOfForward(maxBatch, resolved.particles, dllm);
  const shared = { dllm, given: rest, options: resolved, key: sharingKey(resolved), maxBatch };
  const source = new Source(validate(iterableSchema, items, 'images'), ended);
  const limit = (ordered ? readAhead.ordered : readAhead.asFinished) * engines * Math.floor(rows / resolved.particles);
  return generate(scheduler, { rows, signal: ended }, shared, { source, limit, ordered }, left);
}

async function* generate(
  scheduler: Scheduler,
  ofCall: { rows: number; signal: AbortSignal },
  shared: Shared,
  { source, limit, ordered }: { source: Source; limit: number; ordered: boolean },
  left: AbortController,
): AsyncGenerator<Delivered, void, undefined> {
  const call = new Call(scheduler, ofCall);
  const invert = async (item: unknown, index: number): Promise<Result> => {
    const work = workOf(item, index, call.signal, shared);
    return work instanceof FkinvError ? work : call.invert(work);
  };
  const delivery = new Delivery(source, invert, limit, ordered);
  try {
    for (;;) {
      const delivered = await delivery.next();
      if (delivered === undefined) return;
      yield delivered;
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

/** What is to be done of an item, or why it cannot be. */
function workOf(item: unknown, index: number, signal: AbortSignal, shared: Shared): Work | FkinvError {
  try {
    const { image, ...rest } = isJob(item) ? item : { image: item as ImageInput | readonly ImageInput[] };
    const own = given(rest);
    const pictures = picturesOf(image);
    const { onStep } = shared.options;
    const listener = { signal, onStep: onStep && ((step: Parameters<typeof onStep>[0]) => onStep(step, index)) };
    if (Object.keys(own).every((option) => option === 'seed')) {
      const { seed } = validate(seedSchema, { seed: shared.options.seed, ...own }, 'options of an image');
      return { job: { pictures, seed, listener }, options: shared.options, key: shared.key };
    }
    if ('signal' in own || 'onStep' in own) {
      throw new FkinvError('INVALID_OPTION', 'options of an image: signal and onStep are options of the call');
    }
    const options = resolveOptions(overriding(shared.given, own), shared.dllm);
    rowsOfForward(shared.maxBatch, options.particles, shared.dllm);
    return { job: { pictures, seed: options.seed, listener }, options, key: sharingKey(options) };
  } catch (cause) {
    if (cause instanceof FkinvError) return cause;
    return new FkinvError('INVALID_OPTION', `image: cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** The options of an image over the call's. A template stands in place of a length, and the other way round. */
function overriding(shared: InvertOptions, own: ImageOptions): InvertOptions {
  const options = { ...shared, ...own };
  if (own.template !== undefined && own.length === undefined) delete options.length;
  if (own.length !== undefined && own.template === undefined) delete options.template;
  return options;
}

function isJob(item: unknown): item is ImageJob {
  return typeof item === 'object' && item !== null && 'image' in item && !isRaw(item);
}

/** @internal The pictures of one reference. Throws `INVALID_OPTION` when there is none. */
export function picturesOf(image: ImageInput | readonly ImageInput[]): readonly ImageInput[] {
  const pictures = Array.isArray(image) ? (image as readonly ImageInput[]) : [image as ImageInput];
  if (pictures.length > 0) return pictures;
  throw new FkinvError('INVALID_OPTION', 'image: must be an image, or a list of at least one');
}
