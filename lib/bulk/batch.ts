import { FkinvError } from '../errors';
import type { Inverter } from '../inverter';
import type { InvertAllOptions } from '../options';
import { groupSize, type Results } from './journal';
import { recordOf, type ImageRecord, type Provenance } from './record';
import type { Sidecars } from './sidecars';
import type { Table } from './table';

/** The files that the results are written to. */
export interface Outputs {
  results: Results;
  sidecars: Sidecars | undefined;
  table: Table | undefined;
}

/** The signals that end a batch, and the functions that it calls as it goes on. */
export interface Watch {
  /** Once aborted, no more images are begun; those that were are finished. */
  stop: AbortSignal;
  /** Once aborted, the batch ends at once: images that were begun are not finished. */
  abort: AbortSignal;
  onSkip: () => void;
  /** Called when a record is on the disk. */
  onRecord: (record: ImageRecord) => void;
}

/**
 * Inverts the `images` that have no record, and writes what they come to. Throws `OUTPUT_FAILED` when that cannot be written,
 * what stops the engine, and `ABORTED`; what was told to `onRecord` is on the disk in any case.
 */
export async function runBatch(
  inverter: Inverter,
  images: AsyncIterable<string>,
  options: InvertAllOptions,
  provenance: Provenance,
  outputs: Outputs,
  watch: Watch,
): Promise<void> {
  const { results, sidecars } = outputs;
  /** The images that were read and are not done, by their indices in the call. */
  const open = new Map<number, string>();
  const seen = new Set<string>();
  const failure = new AbortController();
  async function* source(): AsyncGenerator<string, void, undefined> {
    let index = 0;
    for await (const image of untilAborted(images, watch.stop)) {
      if (results.has(image) || seen.has(image) || (await sidecars?.isKept(image)) === true) {
        watch.onSkip();
        continue;
      }
      seen.add(image);
      open.set(index++, image);
      yield image;
    }
  }
  const onRecord = (record: ImageRecord): void => {
    seen.delete(record.image); // from here on the results have it
    watch.onRecord(record);
  };
  const writer = new Writer(outputs, onRecord, (error) => failure.abort(error));
  const signal = AbortSignal.any([watch.abort, failure.signal]);
  try {
    for await (const { index, result } of inverter.invertAll(source(), { ...options, signal, ordered: false })) {
      // This fault is the machine's and no image's, so it makes no record: a rerun does what is not done.
      if (result instanceof FkinvError && result.code === 'CUDA_FAILED') throw result;
      const image = open.get(index) ?? '';
      open.delete(index);
      await writer.add(recordOf(image, result, provenance));
    }
  } catch (error) {
    throw failure.signal.aborted ? failure.signal.reason : error;
  } finally {
    await writer.flush();
  }
}

/**
 * Gives what of `items` comes before the signal. An item that is waited for at that time is given up, and the iterator is not
 * closed.
 */
async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const iterator = items[Symbol.asyncIterator]();
  const ended = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  for (;;) {
    const next = await Promise.race([ended, iterator.next()]);
    if (next === undefined || next.done === true) return;
    yield next.value;
  }
}

/** Writes records a group at a time, while others are made. */
class Writer {
  #waiting: ImageRecord[] = [];
  #writing: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;

  constructor(
    private readonly outputs: Outputs,
    private readonly onRecord: (record: ImageRecord) => void,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  /** Takes a record to write; resolves when there is room for the next. */
  async add(record: ImageRecord): Promise<void> {
    this.#waiting.push(record);
    this.#writing ??= this.#write();
    if (this.#waiting.length >= groupSize) await this.#writing;
  }

  /** Resolves when all is written. Throws what failed. */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0 && this.#failure === undefined) {
        await this.#writeGroup(this.#waiting.splice(0, groupSize));
      }
    } catch (error) {
      this.#failure = { error };
      this.onFailure(error);
    }
    this.#writing = undefined;
  }

  async #writeGroup(records: ImageRecord[]): Promise<void> {
    const { results, sidecars, table } = this.outputs;
    const writeSidecars = async (): Promise<void> => {
      for (const record of records) await sidecars?.write(record);
    };
    if (sidecars?.comesFirst === true) await writeSidecars();
    await results.append(records);
    for (const record of records) this.onRecord(record);
    if (sidecars?.comesFirst === false) await writeSidecars();
    await table?.append(records);
  }
}
