import { z } from 'zod';
import { FkinvError, messageOf } from '../errors';

type AnyIterator = Iterator<unknown> | AsyncIterator<unknown>;

/** The method that makes an iterator, as `for await` finds it. */
function makerOf(items: object): unknown {
  const { [Symbol.asyncIterator]: asynchronous, [Symbol.iterator]: synchronous } = items as Record<symbol, unknown>;
  return asynchronous ?? synchronous;
}

/** An iterable or async iterable of anything. */
export const iterableSchema = z.custom<Iterable<unknown> | AsyncIterable<unknown>>(
  (value) => typeof value === 'object' && value !== null && typeof makerOf(value) === 'function',
  'must be an iterable or async iterable of images',
);

/** The iterable of images of a call, which `signal` ends. */
export class Source {
  #iterator: AnyIterator | undefined;
  #isDone = false;
  /** Whether the iterator is waited for. */
  #isReading = false;

  constructor(
    private readonly items: object,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * The next item, undefined at the end. Throws `INPUT_FAILED` with what the iterable threw, and the signal's reason as
   * soon as it is aborted.
   */
  async next(): Promise<{ item: unknown } | undefined> {
    if (this.#isDone) return undefined;
    try {
      const result = await this.#step();
      if (result.done === true) {
        this.#isDone = true;
        return undefined;
      }
      const item: unknown = await unlessAborted(result.value, this.signal);
      this.signal.throwIfAborted();
      return { item };
    } catch (cause) {
      this.signal.throwIfAborted();
      await this.close().catch(() => undefined); // the first failure is the one that is reported
      throw inputFailed(cause);
    }
  }

  async #step(): Promise<IteratorResult<unknown>> {
    try {
      this.#iterator ??= (makerOf(this.items) as () => AnyIterator).call(this.items);
      this.#isReading = true;
      const result: unknown = await unlessAborted(this.#iterator.next(), this.signal);
      if (typeof result === 'object' && result !== null) return result as IteratorResult<unknown>;
      throw new TypeError('next() gave no object');
    } catch (cause) {
      if (!this.signal.aborted) this.#isDone = true; // an iterator that threw is over, and is not closed
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
    // Where the iterable hangs, waiting for it to close would hang too.
    if (this.signal.aborted || this.#isReading) closing.catch(() => undefined);
    else await closing.catch((cause: unknown) => Promise.reject(inputFailed(cause)));
  }
}

function inputFailed(cause: unknown): FkinvError {
  return new FkinvError('INPUT_FAILED', `the iterable of images failed: ${messageOf(cause)}`, { cause });
}

/** What `value` comes to, or a rejection as soon as `signal` aborts; a value that is no promise is given in any case. */
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
