import { open, type FileHandle } from 'node:fs/promises';
import { stringify } from 'csv-stringify/sync';
import { outputFailed, replaceFile, writeAll } from './files';
import { groupSize, type Journal } from './journal';
import type { ImageRecord } from './record';
import { rewards, rewardsOf } from '../sampling/rewards/list';

/** The names of the columns. */
export const columns = [
  'image',
  'prompt',
  ...rewards.map(({ field }) => field),
  'reward',
  'logProb',
  'seed',
  'warnings',
  'error',
  'message',
];

function rowOf(record: ImageRecord): (string | number)[] {
  const { image, seed } = record;
  const values = (cells: Record<string, string | number>): (string | number)[] =>
    columns.map((column) => cells[column] ?? '');
  if ('error' in record) return values({ image, seed, error: record.error.code, message: record.error.message });
  const { prompt, reward, logProb, warnings } = record;
  return values({ image, prompt, ...rewardsOf(record), reward, logProb, seed, warnings: warnings.join(' ') });
}

/**
 * The results as CSV, a row an image under a row of names. It follows the journal: written whole when it is begun, then row by
 * row; what a crash leaves out or half written is there after the next start.
 */
export class Table {
  private constructor(
    private readonly file: string,
    private readonly handle: FileHandle,
    private end: number,
  ) {}

  /** Throws `OUTPUT_FAILED`. */
  static async begin(file: string, journal: Journal): Promise<Table> {
    let end = 0;
    await replaceFile(file, async (handle) => {
      let rows: (string | number)[][] = [columns];
      const flush = async (): Promise<void> => {
        const data = Buffer.from(stringify(rows));
        await writeAll(handle, data, end);
        end += data.length;
        rows = [];
      };
      for await (const record of journal.records()) {
        rows.push(rowOf(record));
        if (rows.length >= groupSize) await flush();
      }
      await flush();
    });
    return new Table(file, await open(file, 'r+').catch(outputFailed('write', file)), end);
  }

  /** Throws `OUTPUT_FAILED`. */
  async append(records: readonly ImageRecord[]): Promise<void> {
    const data = Buffer.from(stringify(records.map(rowOf)));
    await writeAll(this.handle, data, this.end).catch(outputFailed('write', this.file));
    this.end += data.length;
  }

  /** Makes it last. Throws `OUTPUT_FAILED`. */
  async close(): Promise<void> {
    await this.handle
      .datasync()
      .catch(outputFailed('write', this.file))
      .finally(() => this.handle.close());
  }
}
