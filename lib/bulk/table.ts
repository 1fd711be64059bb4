import { stringify } from 'csv-stringify/sync';
import { OutputFile, type FileKind } from '../files/write-file';
import { groupSize, type Results } from './journal';
import type { ImageRecord } from './record';
import { rewards, rewardsOf } from '../sampling/rewards/list';

/** The names of the columns. */
export const columns = [
  'image',
  'prompt',
  ...rewards.map(({ field }) => field),
  'reward',
  'logProb',
  'hints',
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
  const { prompt, reward, logProb, hints, warnings } = record;
  const texts = { hints: hints.join(', '), warnings: warnings.join(' ') };
  return values({ image, prompt, ...rewardsOf(record), reward, logProb, seed, ...texts });
}

/**
 * Rows as CSV. A `'` stands before a text that begins with `=`, `+`, `-` or `@`, which a spreadsheet would take for a formula.
 */
function csvOf(rows: (string | number)[][]): string {
  return stringify(rows, { escape_formulas: true });
}

const kind: FileKind = {
  name: 'table of fkinv batch',
  remedy: 'give another --csv, or remove it first',
  // Only the first and last columns are looked at, since other versions have other rewards between them.
  isOwn: (beginning) => /^\uFEFF?image,prompt,.*,error,message\r?\n/.test(beginning),
  goesToStreams: true,
};

/**
 * The results as CSV, a row an image under a row of names, with a byte order mark where `bom` says so, by which Excel knows that
 * it is UTF-8. It follows the results: it is written whole when it is begun, then row by row. What a crash leaves out or half
 * written is there after the next start.
 */
export class Table {
  private constructor(private readonly output: OutputFile) {}

  /** Throws `INVALID_OPTION` where something else than such a table is there, and `OUTPUT_FAILED`. */
  static async begin(file: string, results: Results, { bom = false } = {}): Promise<Table> {
    return new Table(await OutputFile.begin(file, kind, wholeOf(results, bom)));
  }

  /** Throws `OUTPUT_FAILED`. */
  async append(records: readonly ImageRecord[]): Promise<void> {
    await this.output.append(csvOf(records.map(rowOf)));
  }

  /** Makes it last. Throws `OUTPUT_FAILED`. */
  async close(): Promise<void> {
    await this.output.close();
  }
}

async function* wholeOf(results: Results, bom: boolean): AsyncGenerator<string, void, undefined> {
  if (bom) yield '\uFEFF';
  const rows: (string | number)[][] = [columns];
  for await (const record of results.records()) {
    rows.push(rowOf(record));
    if (rows.length >= groupSize) yield csvOf(rows.splice(0));
  }
  yield csvOf(rows);
}
