import path from 'node:path';
import { runBatch, type Outputs } from '../bulk/batch';
import { LeftOut } from '../bulk/formats';
import { checkInputs, imagesOf, stdinInput } from '../bulk/inputs';
import { Journal } from '../bulk/journal';
import { provenanceOf, type ImageRecord, type Provenance } from '../bulk/record';
import { Sidecars, type Existing } from '../bulk/sidecars';
import { Table } from '../bulk/table';
import { FkinvError } from '../errors';
import type { Inverter } from '../inverter';
import type { InvertAllOptions } from '../options';
import { BatchProgress } from './batch-progress';
import { coloursOf } from './colours';
import { untilInterruptedTwice } from './interrupts';
import { split, type BulkFlags } from './invert-flags';
import { loadWithHashes } from './load';
import { printable } from './printable';
import { exitCodes } from './report';
import { StdoutResults } from './stdout-results';

/** What the flags of `fkinv batch` come to. */
export interface BatchFlags extends BulkFlags {
  out: string;
  csv?: string;
  csvBom?: true;
  sidecars?: true;
  existing?: Existing;
  retryFailed?: true;
  jsonProgress?: true;
  quiet?: true;
  null?: true;
}

/** The images that are asked for: of these inputs, a list on stdin among them read as it says. */
interface Inputs {
  inputs: string[];
  nullSeparated: boolean;
}

/** The `--out` that is stdout. */
const stdoutOutput = '-';

/** Does `fkinv batch`, and gives its exit code. */
export async function batch(inputs: string[], flags: BatchFlags): Promise<number> {
  const { load, others } = split(flags);
  const { out, csv, csvBom, sidecars, existing, retryFailed, jsonProgress, quiet, null: isNull, ...options } = others;
  const nullSeparated = isNull === true;
  checkFlags(flags);
  await checkInputs(inputs, nullSeparated);
  const progress = new BatchProgress(jsonProgress === true ? 'json' : quiet === true ? 'none' : 'people');
  const { inverter, models } = await loadWithHashes(
    load,
    (warning) => progress.warn(warning),
    progress.form !== 'people',
  );
  let outputs: Outputs | undefined;
  try {
    const provenance = provenanceOf(inverter.resolve(options), models);
    const results =
      out === stdoutOutput
        ? new StdoutResults(() => progress.makeRoom())
        : await Journal.open(out, provenance, { retryFailed: retryFailed === true });
    outputs = { results, sidecars: sidecars === true ? new Sidecars(existing ?? 'skip') : undefined, table: undefined };
    await outputs.sidecars?.complete(results.last);
    if (csv !== undefined) outputs.table = await Table.begin(csv, results, { bom: csvBom === true });
    const code = await invertAll(inverter, { inputs, nullSeparated }, options, provenance, outputs, progress);
    if (results.failed > 0) progress.warn(`${results.failed} of ${out} failed before: --retry-failed does them again`);
    return code;
  } finally {
    progress.stop();
    if (inputs.includes(stdinInput)) process.stdin.destroy(); // a list that is not at its end would keep the process
    await inverter.dispose();
    await outputs?.table?.close();
    await outputs?.results.close();
  }
}

/** Throws `INVALID_OPTION` for flags that do not go together. */
function checkFlags({ out, csv, csvBom, sidecars, existing, retryFailed }: BatchFlags): void {
  const check = (holds: boolean, message: string): void => {
    if (!holds) throw new FkinvError('INVALID_OPTION', message);
  };
  check(existing === undefined || sidecars === true, '--existing: is of --sidecars, which is not given');
  check(csvBom === undefined || csv !== undefined, '--csv-bom: is of --csv, which is not given');
  check(
    csv === undefined || path.resolve(csv) !== path.resolve(out),
    '--csv: is the file of --out, and must be another',
  );
  check(
    retryFailed === undefined || out !== stdoutOutput,
    '--retry-failed: is of a file of results, and --out is stdout',
  );
}

/** Inverts the images of `inputs`, prints the summary, and gives the exit code. */
async function invertAll(
  inverter: Inverter,
  { inputs, nullSeparated }: Inputs,
  options: InvertAllOptions,
  provenance: Provenance,
  outputs: Outputs,
  progress: BatchProgress,
): Promise<number> {
  /** Failed images, by the code of their error. */
  const failures = new Map<string, number>();
  const leftOut = new LeftOut();
  let unreadable = 0;
  const images = imagesOf(inputs, process.stdin, {
    nullSeparated,
    onUnreadable(message) {
      unreadable++;
      progress.fail({ code: 'IMAGE_NOT_FOUND', message });
    },
    onLeftOut: (file) => leftOut.add(file),
  });
  const onRecord = (record: ImageRecord): void => {
    progress.add('error' in record ? 'failed' : 'done');
    if (!('error' in record)) return;
    const { code } = record.error;
    failures.set(code, (failures.get(code) ?? 0) + 1);
    progress.fail(record.error, record.image);
  };
  const toStdout = outputs.results instanceof StdoutResults;
  const onStop = (): void => {
    const then = toStdout ? '' : ', and the same command goes on';
    progress.warn(`finishes what was begun; once more ends at once${then}`);
  };
  progress.start();
  return untilInterruptedTwice(onStop, async (stop, abort) => {
    countImages(inputs, stop).then(
      (total) => (progress.report.total = total),
      () => undefined, // the batch itself tells what is wrong
    );
    const watch = { stop, abort, onSkip: () => progress.add('skipped'), onRecord };
    try {
      await runBatch(inverter, images, options, provenance, outputs, watch);
    } catch (error) {
      if (!(error instanceof FkinvError) || error.code !== 'ABORTED') throw error;
    }
    const { done, failed, skipped } = progress.report;
    const isNone = done + failed + skipped + unreadable === 0 && !stop.aborted;
    if (leftOut.message !== undefined && !isNone) progress.warn(leftOut.message);
    const summaryStream = toStdout ? process.stderr : process.stdout;
    const line = summary(progress, failures, outputs.results.file, stop.aborted, summaryStream);
    if (!toStdout || progress.form === 'people') summaryStream.write(line); // stdout has the records, and nothing else
    if (stop.aborted) return exitCodes.interrupted;
    if (!isNone) return failed + unreadable > 0 ? exitCodes.failed : exitCodes.done;
    const why = leftOut.message === undefined ? '' : `; ${leftOut.message}`;
    throw new FkinvError('INVALID_OPTION', `${inputs.join(', ')}: there is no image${why}`);
  });
}

/** How many images there are; null of a list that is read once. */
async function countImages(inputs: string[], stop: AbortSignal): Promise<number | null> {
  if (inputs.includes(stdinInput)) return null;
  let total = 0;
  for await (const image of imagesOf(inputs, process.stdin)) {
    if (image === '' || stop.aborted) return null;
    total++;
  }
  return total;
}

/** The line at the end, for `stream`. */
function summary(
  progress: BatchProgress,
  failures: Map<string, number>,
  out: string,
  isInterrupted: boolean,
  stream: NodeJS.WriteStream,
): string {
  const rate = progress.finish();
  const { bold, dim, red } = coloursOf(stream);
  const { done, skipped, failed } = progress.report;
  const codes = [...failures].map(([code, count]) => `${count} ${code}`).join(', ');
  const file = printable(out);
  const parts = [
    bold(`${done} done`),
    `${skipped} skipped`,
    failed === 0 ? '0 failed' : red(`${failed} failed (${codes})`),
    dim(done + failed > 0 ? `${rate.toFixed(2)} images/s  ${file}` : file),
  ];
  return `${isInterrupted ? 'interrupted: ' : ''}${parts.join('  ')}\n`;
}
