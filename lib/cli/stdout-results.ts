import { FkinvError, messageOf } from '../errors';
import type { Results } from '../bulk/journal';
import type { ImageRecord } from '../bulk/record';
import { jsonLine } from './printable';

/** The records as lines on stdout, for the next program of a pipeline: a rerun has nothing to go on from. */
export class StdoutResults implements Results {
  readonly file = 'stdout';
  readonly failed = 0;
  readonly last: ImageRecord[] = [];
  readonly #images = new Set<string>();

  /** `makeRoom` takes what is drawn on the terminal off it. */
  constructor(private readonly makeRoom: () => void) {}

  has(image: string): boolean {
    return this.#images.has(image);
  }

  /** Resolves when the reader has room for more. Throws `OUTPUT_FAILED`. */
  async append(records: readonly ImageRecord[]): Promise<void> {
    if (process.stdout.isTTY) this.makeRoom();
    const lines = records.map(jsonLine).join('');
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(lines, (cause) => {
        if (cause == null) resolve();
        else reject(new FkinvError('OUTPUT_FAILED', `cannot write to stdout: ${messageOf(cause)}`, { cause }));
      });
    });
    for (const { image } of records) this.#images.add(image);
  }

  /** There are none from before. */
  async *records(): AsyncGenerator<ImageRecord, void, undefined> {
    // A table begins with its head alone.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
