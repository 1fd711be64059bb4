import { z } from 'zod';
import { FkinvError, messageOf } from './errors';
import { isRaw, type ImageInput } from './image';
import type { Inversion } from './inversion';
import { invertAllSchema, type ImageOptions, type InvertAllOptions, type InvertOptions } from './options';
import { resolveOptions, rowsOfForward, sharingKey, type ResolvedOptions } from './resolved-options';
import type { Models } from './sampler';
import { invertTogether, type Job } from './together';
import { validate } from './validate';

/** An image of {@link Inverter.invertAll} with options of its own, which go before the call's. */
export interface ImageJob extends ImageOptions {
  /** The image, or several as one reference. */
  image: ImageInput | readonly ImageInput[];
}

/** What {@link Inverter.invertAll} takes for each image. */
export type ImageItem = ImageInput | readonly ImageInput[] | ImageJob;

/** Images, synchronous or asynchronous. */
export type ImageItems = Iterable<ImageItem | PromiseLike<ImageItem>> | AsyncIterable<ImageItem>;

/** An image that was read from the iterable: a job that can share forwards with those of its key, or why it cannot be one. */
type Entry = { job: Job; options: ResolvedOptions; key: string } | { error: FkinvError };

/**
 * Inverts `items` as many at a time as a forward has room for, in order. The source is closed when the consumer stops.
 * Options of the call are validated here, at once.
 */
export function invertAll(
  models: Models,
  items: ImageItems,
  options: InvertAllOptions,
): AsyncGenerator<Inversion | FkinvError, void, undefined> {
  validate(invertAllSchema, options, 'options of invertAll');
  const { maxBatch, ...shared } = options;
  const { particles } = resolveOptions(shared, models.dllm);
  rowsOfForward(maxBatch, particles, models.dllm);
  return generate(models, new Source(items, (item, index) => readEntry(models, item, index, shared)), maxBatch);
}

async function* generate(
  models: Models,
  source: Source,
  maxBatch: number | undefined,
): AsyncGenerator<Inversion | FkinvError, void, undefined> {
  try {
    for (;;) {
      const entries = await source.take((options) => roomFor(models, options, maxBatch));
      if (entries.length === 0) return;
      yield* await resultsOf(models, entries);
      source.throwIfFailed();
    }
  } finally {
    await source.close();
  }
}

/** Images with these options that a forward has room for. */
function roomFor(models: Models, { particles }: ResolvedOptions, maxBatch: number | undefined): number {
  return Math.floor(rowsOfForward(maxBatch, particles, models.dllm) / particles);
}

async function resultsOf(models: Models, entries: Entry[]): Promise<(Inversion | FkinvError)[]> {
  const good = entries.filter((entry) => 'job' in entry);
  const [first] = good;
  const results =
    first === undefined
      ? []
      : await invertTogether(
          models,
          good.map(({ job }) => job),
          first.options,
        );
  const byJob = new Map(good.map(({ job }, i) => [job, results[i]]));
  const lost = new FkinvError('INTERNAL', 'an image was lost');
  return entries.map((entry) => ('error' in entry ? entry.error : (byJob.get(entry.job) ?? lost)));
}

function readEntry(models: Models, item: unknown, index: number, shared: InvertOptions): Entry {
  try {
    const { image, ...own } = isJob(item) ? item : { image: item as ImageInput | readonly ImageInput[] };
    if ('signal' in own || 'onStep' in own) {
      throw new FkinvError('INVALID_OPTION', 'options of an image: signal and onStep are options of the call');
    }
    const options = resolveOptions(overriding(shared, own), models.dllm);
    return { job: { pictures: picturesOf(image), seed: options.seed, index }, options, key: sharingKey(options) };
  } catch (error) {
    if (error instanceof FkinvError) return { error };
    throw error;
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

/** The pictures of one reference. Throws `INVALID_OPTION` when there is none. */
export function picturesOf(image: ImageInput | readonly ImageInput[]): readonly ImageInput[] {
  const pictures = Array.isArray(image) ? (image as readonly ImageInput[]) : [image as ImageInput];
  if (pictures.length > 0) return pictures;
  throw new FkinvError('INVALID_OPTION', 'image: must be an image, or a list of at least one');
}

const iterableSchema = z.custom<ImageItems>(
  (value) => typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value),
  'must be an iterable or async iterable of images',
);

/** The iterable of images, read a batch at a time. */
class Source {
  readonly #iterator: AsyncIterator<ImageItem> | Iterator<ImageItem | PromiseLike<ImageItem>>;
  #index = 0;
  #isDone = false;
  /** Read, and left for the next batch. */
  #waiting: Entry | undefined;
  #failure: FkinvError | undefined;

  constructor(
    items: ImageItems,
    private readonly read: (item: unknown, index: number) => Entry,
  ) {
    const iterable = validate(iterableSchema, items, 'images');
    this.#iterator = Symbol.asyncIterator in iterable ? iterable[Symbol.asyncIterator]() : iterable[Symbol.iterator]();
  }

  /** The next entries that can share forwards, as many as there is room for; none at the end. */
  async take(roomFor: (options: ResolvedOptions) => number): Promise<Entry[]> {
    const entries: Entry[] = [];
    let key: string | undefined;
    let room = Infinity;
    for (let jobs = 0; jobs < room;) {
      const entry = this.#waiting ?? (await this.#next(roomFor));
      this.#waiting = undefined;
      if (entry === undefined) break;
      if ('job' in entry) {
        key ??= entry.key;
        if (entry.key !== key) {
          this.#waiting = entry;
          break;
        }
        room = roomFor(entry.options);
        jobs++;
      }
      entries.push(entry);
    }
    if (entries.length === 0) this.throwIfFailed();
    return entries;
  }

  async #next(roomFor: (options: ResolvedOptions) => number): Promise<Entry | undefined> {
    if (this.#isDone) return undefined;
    let item: unknown;
    try {
      const result: IteratorResult<unknown> = await this.#iterator.next();
      item = await result.value;
      if (result.done === true) this.#isDone = true;
    } catch (cause) {
      this.#isDone = true;
      this.#failure = new FkinvError('INPUT_FAILED', `the iterable of images threw: ${messageOf(cause)}`, { cause });
    }
    if (this.#isDone) return undefined;
    const entry = this.read(item, this.#index++);
    if ('error' in entry) return entry;
    try {
      roomFor(entry.options);
    } catch (error) {
      if (error instanceof FkinvError) return { error }; // more particles than a forward has rows
      throw error;
    }
    return entry;
  }

  /** What the iterable threw, once all that came before is done. */
  throwIfFailed(): void {
    if (this.#failure !== undefined && this.#waiting === undefined) throw this.#failure;
  }

  async close(): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    await this.#iterator.return?.();
  }
}
