import { z } from 'zod';
import type { Dllm } from './dllm';
import type { Engines } from './engines';
import { FkinvError, messageOf } from './errors';
import { isRaw, type ImageInput } from './image';
import type { Inversion } from './inversion';
import { invertSchema, type ImageOptions, type InvertAllOptions, type InvertOptions } from './options';
import { given, resolveOptions, rowsOfForward, sharingKey, type ResolvedOptions } from './resolved-options';
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

/** What the images of a call have in common. */
interface Call {
  engines: Engines;
  /** The same on each of them. */
  dllm: Dllm;
  /** As they were given. */
  given: InvertOptions;
  /** Of an image without options of its own. */
  options: ResolvedOptions;
  key: string;
  maxBatch: number | undefined;
  /** Ends the call: an abort, a disposal, or that the consumer has left. */
  signal: AbortSignal;
}

/**
 * Inverts `items` as many at a time as a forward has room for, in order. The source is closed when the consumer stops, or
 * when `signal` ends the call: then it rejects with the signal's reason, once the results that are done were given.
 * What the options of the call come to for the model is checked here, at once.
 * @internal
 */
export function invertAll(
  engines: Engines,
  items: ImageItems,
  options: InvertAllOptions,
  signal: AbortSignal,
): AsyncGenerator<Inversion | FkinvError, void, undefined> {
  const { maxBatch, ...rest } = options;
  const [{ dllm }] = engines.all;
  const left = new AbortController();
  const ended = AbortSignal.any([signal, left.signal]);
  const given = { ...rest, signal: ended };
  const resolved = resolveOptions(given, dllm);
  rowsOfForward(maxBatch, resolved.particles, dllm);
  const call = { engines, dllm, given, options: resolved, key: sharingKey(resolved), maxBatch, signal: ended };
  return generate(new Batches(call, new Source(validate(iterableSchema, items, 'images'), call)), left);
}

type Results = (Inversion | FkinvError)[];

async function* generate(
  batches: Batches,
  left: AbortController,
): AsyncGenerator<Inversion | FkinvError, void, undefined> {
  try {
    for (;;) {
      const results = await batches.oldest();
      if (results.length === 0) return;
      yield* results;
      batches.drop();
    }
  } finally {
    await batches.end(left);
  }
}

/**
 * The batches of a call that are begun and not yet given, oldest first. Each engine has one at a time, and while one has the
 * oldest each of the others may do two: a single engine begins none before the last was given.
 */
class Batches {
  /** What they come to; nothing at the end of the images. */
  readonly #begun: Promise<Results>[] = [];
  /** How many are not done. */
  #underWay = 0;
  #lastRead: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly call: Call,
    private readonly source: Source,
  ) {}

  /** What the oldest comes to. */
  async oldest(): Promise<Results> {
    this.#fill();
    return (await this.#begun[0]) ?? [];
  }

  /** The oldest was given. */
  drop(): void {
    void this.#begun.shift();
  }

  /** Ends all by `left`, which aborts the call's signal, and closes the source. */
  async end(left: AbortController): Promise<void> {
    const closing = this.source.close();
    left.abort();
    await Promise.allSettled([closing, ...this.#begun]);
    await closing;
  }

  #fill(): void {
    const engines = this.call.engines.all.length;
    while (this.#underWay < engines && this.#begun.length < 2 * engines - 1) {
      const batch = this.#next();
      batch.catch(() => undefined); // told when it is the oldest
      this.#begun.push(batch);
    }
  }

  async #next(): Promise<Results> {
    this.#underWay++;
    try {
      const read = this.#lastRead.then(() => this.source.take());
      this.#lastRead = read;
      return await resultsOf(this.call, await read);
    } finally {
      this.#underWay--;
      if (!this.call.signal.aborted) this.#fill();
    }
  }
}

/** Images with these options that a forward has room for. Throws `BATCH_TOO_LARGE` for none. */
function roomFor({ particles }: ResolvedOptions, { dllm, maxBatch }: Call): number {
  return Math.floor(rowsOfForward(maxBatch, particles, dllm) / particles);
}

async function resultsOf({ engines }: Call, entries: Entry[]): Promise<Results> {
  const good = entries.filter((entry) => 'job' in entry);
  const jobs = good.map(({ job }) => job);
  const options = good[0]?.options;
  const results = options && (await engines.run(jobs.length, (models) => invertTogether(models, jobs, options)));
  const byJob = new Map(jobs.map((job, i) => [job, results?.[i]]));
  return entries.map((entry) => {
    if ('error' in entry) return entry.error;
    return byJob.get(entry.job) ?? new FkinvError('INTERNAL', 'an image was lost');
  });
}

const seedSchema = invertSchema.pick({ seed: true });

function readEntry(item: unknown, index: number, call: Call): Entry {
  try {
    const { image, ...rest } = isJob(item) ? item : { image: item as ImageInput | readonly ImageInput[] };
    const own = given(rest);
    const pictures = picturesOf(image);
    if (Object.keys(own).every((option) => option === 'seed')) {
      const { seed } = validate(seedSchema, { seed: call.options.seed, ...own }, 'options of an image');
      return { job: { pictures, seed, index }, options: call.options, key: call.key };
    }
    if ('signal' in own || 'onStep' in own) {
      throw new FkinvError('INVALID_OPTION', 'options of an image: signal and onStep are options of the call');
    }
    const options = resolveOptions(overriding(call.given, own), call.dllm);
    roomFor(options, call);
    return { job: { pictures, seed: options.seed, index }, options, key: sharingKey(options) };
  } catch (cause) {
    if (cause instanceof FkinvError) return { error: cause };
    return { error: new FkinvError('INVALID_OPTION', `image: cannot be read: ${messageOf(cause)}`, { cause }) };
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

type AnyIterator = Iterator<unknown> | AsyncIterator<unknown>;

/** The method that makes an iterator, as `for await` finds it. */
function makerOf(items: object): unknown {
  const { [Symbol.asyncIterator]: asynchronous, [Symbol.iterator]: synchronous } = items as Record<symbol, unknown>;
  return asynchronous ?? synchronous;
}

const iterableSchema = z.custom<ImageItems>(
  (value) => typeof value === 'object' && value !== null && typeof makerOf(value) === 'function',
  'must be an iterable or async iterable of images',
);

/** The iterable of images, read a batch at a time. */
class Source {
  #iterator: AnyIterator | undefined;
  #index = 0;
  #isDone = false;
  /** Read, and left for the next batch. */
  #waiting: Entry | undefined;
  #failure: FkinvError | undefined;
  /** Whether the iterator is waited for. */
  #isReading = false;

  constructor(
    private readonly items: ImageItems,
    private readonly call: Call,
  ) {}

  /**
   * The next entries that can share forwards, as many as there is room for; none at the end. Throws what the iterable
   * threw, once all that came before was taken.
   */
  async take(): Promise<Entry[]> {
    const entries: Entry[] = [];
    let key: string | undefined;
    for (let room = roomFor(this.call.options, this.call); entries.length < room;) {
      const entry = this.#waiting ?? (await this.#next());
      this.#waiting = undefined;
      if (entry === undefined) break;
      if ('job' in entry) {
        if (key === undefined) room = Math.max(entries.length + 1, roomFor(entry.options, this.call));
        key ??= entry.key;
        if (entry.key !== key) {
          this.#waiting = entry;
          break;
        }
      }
      entries.push(entry);
    }
    if (entries.length === 0 && this.#failure !== undefined) throw this.#failure;
    return entries;
  }

  async #next(): Promise<Entry | undefined> {
    const { signal } = this.call;
    if (this.#isDone) return undefined;
    let item: unknown;
    try {
      const result = await this.#step();
      if (result.done === true) {
        this.#isDone = true;
        return undefined;
      }
      item = await unlessAborted(result.value, signal);
    } catch (cause) {
      signal.throwIfAborted();
      this.#failure = inputFailed(cause);
      await this.close().catch(() => undefined); // the first failure is the one that is told
      return undefined;
    }
    signal.throwIfAborted();
    return readEntry(item, this.#index++, this.call);
  }

  async #step(): Promise<IteratorResult<unknown>> {
    try {
      this.#iterator ??= (makerOf(this.items) as () => AnyIterator).call(this.items);
      this.#isReading = true;
      const result: unknown = await unlessAborted(this.#iterator.next(), this.call.signal);
      if (typeof result === 'object' && result !== null) return result as IteratorResult<unknown>;
      throw new TypeError('next() gave no object');
    } catch (cause) {
      if (!this.call.signal.aborted) this.#isDone = true; // an iterator that threw is over, and is not closed
      throw cause;
    } finally {
      this.#isReading = false;
    }
  }

  /** Closes the iterable, unless it came to its end. Throws `INPUT_FAILED`. */
  async close(): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    const closing = Promise.resolve(this.#iterator).then((iterator) => iterator?.return?.());
    // Of an iterable that is waited for in vain, its end would be waited for in vain too.
    if (this.call.signal.aborted || this.#isReading) closing.catch(() => undefined);
    else await closing.catch((cause: unknown) => Promise.reject(inputFailed(cause)));
  }
}

function inputFailed(cause: unknown): FkinvError {
  return new FkinvError('INPUT_FAILED', `the iterable of images failed: ${messageOf(cause)}`, { cause });
}

/** What `value` comes to, or a rejection as soon as `signal` aborts; a value that is no promise is had in any case. */
function unlessAborted<T>(value: T | PromiseLike<T>, signal: AbortSignal): Promise<Awaited<T>> | T {
  if (!isThenable(value)) return value;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    Promise.resolve(value)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', abort));
  });
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as Partial<PromiseLike<T>> | null | undefined)?.then === 'function';
}
