import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { FkinvError } from '../errors';
import { native, type NativeFileLock } from '../native/addon';
import { outputFailed, syncFolderOf, writeAll } from '../files/disk';
import { checkRegular, holdFile, replaceFile } from '../files/write-file';
import { differenceOf, isOfRecords, recordSchema, type ImageRecord, type Provenance } from './record';

/** What messages say is to be done where the results cannot be written. */
const remedy = 'give another --out, as a rerun goes on from it';

/** How many records are written together at most: a crash leaves at most one such group half written. */
export const groupSize = 64;

/** Where records go, and what is known of those that are there. */
export interface Results {
  /** What messages call it. */
  readonly file: string;
  /** How many of the records that were there when it was opened are of failed images. */
  readonly failed: number;
  /** The last records that were there when it was opened, whose side-cars a crash may have kept from being written. */
  readonly last: readonly ImageRecord[];
  has(image: string): boolean;
  append(records: readonly ImageRecord[]): Promise<void>;
  records(): AsyncIterable<ImageRecord>;
  close(): Promise<void>;
}

/**
 * The results: a file of JSON lines, a record an image, which is also the journal of what is done. A record counts once it is
 * on the disk. What a crash left half written at its end is cut off when it is opened again, and those images are done again.
 * One process at a time has it, and all of its records are made alike.
 */
export class Journal implements Results {
  readonly #images = new Set<string>();
  /** How many records of failed images the file had when it was opened, and still has. */
  failed = 0;
  /** The last records that the file had when it was opened, at most a group of them. */
  readonly last: ImageRecord[] = [];
  /** The byte at which the next record begins. */
  #end = 0;
  /** Ends the hold on the file: until it is called, nothing else that this process writes may take the file's place. */
  #release: () => void = () => undefined;

  private constructor(
    readonly file: string,
    private handle: FileHandle,
    private lock: NativeFileLock,
  ) {}

  /**
   * Opens the file, or begins it where there is none. Throws `OUTPUT_FAILED` where it cannot be written or another process has
   * it, and `INVALID_OPTION` where it is no file of results, or was made with other options or models.
   */
  static async open(file: string, provenance: Provenance, { retryFailed = false } = {}): Promise<Journal> {
    await checkRegular(file, remedy);
    const handle = await open(file, constants.O_RDWR | constants.O_CREAT).catch(outputFailed('write', file));
    let journal: Journal | undefined;
    try {
      journal = new Journal(file, handle, lockOn(file));
      journal.#release = await holdFile(handle, file);
      await syncFolderOf(file).catch(outputFailed('write', file));
      await journal.#read(provenance);
      if (retryFailed && journal.failed > 0) await journal.#dropFailed();
      return journal;
    } catch (error) {
      await (journal?.close() ?? handle.close());
      throw error;
    }
  }

  /** Whether there is a record of `image`. */
  has(image: string): boolean {
    return this.#images.has(image);
  }

  /** Appends records, which are on the disk when it resolves. Throws `OUTPUT_FAILED`; then none of them counts in this run. */
  async append(records: readonly ImageRecord[]): Promise<void> {
    const lines = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    try {
      await writeAll(this.handle, lines, this.#end);
      await this.handle.datasync();
    } catch (cause) {
      await this.handle.truncate(this.#end).catch(() => undefined); // where this fails too, whole lines count at the next start, and a torn one is cut off
      outputFailed('write', this.file)(cause);
    }
    this.#end += lines.length;
    for (const { image } of records) this.#images.add(image);
  }

  /** All records, in their order. */
  async *records(): AsyncGenerator<ImageRecord, void, undefined> {
    for await (const { text } of linesOf(this.handle, this.#end)) yield JSON.parse(text) as ImageRecord;
  }

  async close(): Promise<void> {
    this.#release();
    this.lock.release();
    await this.handle.close();
  }

  async #read(provenance: Provenance): Promise<void> {
    const { size } = await this.handle.stat();
    let number = 0;
    let torn = 0;
    let valid = 0;
    for await (const { text, end } of linesOf(this.handle, size)) {
      number++;
      const record = this.#parse(text, number, end === undefined);
      if (record === undefined) torn ||= number;
      else if (torn > 0) valid++;
      if (valid >= groupSize) throw this.#isOther(torn, 'is damaged, and a crash of fkinv does not leave it so');
      if (record === undefined || torn > 0 || end === undefined) continue;
      const difference = differenceOf(record, provenance);
      if (difference !== undefined) {
        const how = `was made with another ${difference}`;
        throw this.#isOther(number, `${how}: the same options and models go on with it, others need another --out`);
      }
      this.#end = end;
      this.#images.add(record.image);
      this.last.push(record);
      if (this.last.length > groupSize) this.last.shift();
      if ('error' in record) this.failed++;
    }
    if (this.#end < size) await this.handle.truncate(this.#end).catch(outputFailed('write', this.file));
  }

  /** Reads a line as a record; undefined where it is what a crash can have left of one. Throws `INVALID_OPTION` for all else. */
  #parse(text: string, number: number, isLast: boolean): ImageRecord | undefined {
    try {
      const parsed = recordSchema.safeParse(JSON.parse(text));
      if (parsed.success && !isLast) return parsed.data;
      if (parsed.success) return undefined; // its end of line is missing
    } catch {
      const begin = '{"image":';
      if (text.startsWith(begin) || begin.startsWith(text) || text.includes('\0')) return undefined;
    }
    throw this.#isOther(number, 'is no record of fkinv batch: give another --out');
  }

  #isOther(line: number, how: string): FkinvError {
    return new FkinvError('INVALID_OPTION', `${this.file}: line ${line} ${how}`);
  }

  /** Leaves the records of failed images out, so that they are done again. */
  async #dropFailed(): Promise<void> {
    let lock: NativeFileLock | undefined;
    let end = 0;
    const records = async function* (this: Journal): AsyncGenerator<string, void, undefined> {
      for await (const record of this.records()) {
        if ('error' in record) {
          this.#images.delete(record.image);
          continue;
        }
        const line = `${JSON.stringify(record)}\n`;
        end += Buffer.byteLength(line);
        yield line;
      }
    };
    this.#release();
    const kind = { name: 'results of fkinv batch', remedy, isOwn: isOfRecords, goesToStreams: false };
    // The new file is locked before anybody can find it under its name.
    await replaceFile(this.file, kind, records.call(this), (created) => (lock = new native.FileLock(created)));
    await this.handle.close();
    this.lock.release();
    if (lock !== undefined) this.lock = lock;
    this.handle = await open(this.file, 'r+').catch(outputFailed('write', this.file));
    this.#release = await holdFile(this.handle, this.file);
    this.#end = end;
    this.failed = 0;
    this.last.splice(0, Infinity, ...this.last.filter((record) => !('error' in record)));
  }
}

function lockOn(file: string): NativeFileLock {
  const lock = new native.FileLock(file);
  if (lock.isHeld) return lock;
  lock.release();
  throw new FkinvError(
    'OUTPUT_FAILED',
    `${file}: another process writes it: wait until it is done, or give another --out`,
  );
}

/**
 * The lines of the first `size` bytes, each with the byte at which the next one begins: undefined for a last one without an end
 * of line.
 */
async function* linesOf(
  handle: FileHandle,
  size: number,
): AsyncGenerator<{ text: string; end: number | undefined }, void, undefined> {
  const chunk = Buffer.allocUnsafe(1 << 16);
  let rest: Buffer = Buffer.alloc(0);
  for (let position = 0; position < size;) {
    const { bytesRead } = await handle.read(chunk, 0, Math.min(chunk.length, size - position), position);
    if (bytesRead === 0) break;
    let data = Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
    let start = position - rest.length;
    for (let at = data.indexOf(10); at !== -1; at = data.indexOf(10)) {
      start += at + 1;
      yield { text: data.toString('utf8', 0, at), end: start };
      data = data.subarray(at + 1);
    }
    rest = data;
    position += bytesRead;
  }
  if (rest.length > 0) yield { text: rest.toString(), end: undefined };
}
