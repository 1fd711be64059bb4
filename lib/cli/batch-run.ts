import path from 'node:path';
import { runBatch, type Outputs } from '../bulk/batch';
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
import { exitCodes } from './report';

/** What the flags of `fkinv batch` come to. */
export interface BatchFlags extends BulkFlags {
  out: string;
  csv?: string;
  sidecars?: true;
  existing?: Existing;
  retryFailed?: true;
  jsonProgress?: true;
  quiet?: true;
}

/** Does `fkinv batch`, and gives its exit code. */
export async function batch(inputs: string[], flags: BatchFlags): Promise<number> {
  const { load, others } = split(flags);
  const { out, csv, sidecars, existing, retryFailed, jsonProgress, quiet, ...options } = others;
  checkFlags(flags);
  await checkInputs(inputs);
  const progress = new BatchProgress(jsonProgress === true ? 'json' : quiet === true ? 'none' : 'people');
  const { inverter, models } = await loadWithHashes(load, (warning) => progress.warn(warning));
  let outputs: Outputs | undefined;
  try {
    const provenance = provenanceOf(inverter.resolve(options), models);
    const journal = await Journal.open(out, provenance, { retryFailed: retryFailed === true });
    outputs = { journal, sidecars: sidecars === true ? new Sidecars(existing ?? 'skip') : undefined, table: undefined };
    await outputs.sidecars?.complete(journal.last);
    if (csv !== undefined) outputs.table = await Table.begin(csv, journal);
    const code = await invertAll(inverter, inputs, options, provenance, outputs, progress);
    if (journal.failed > 0) progress.warn(`${journal.failed} of ${out} failed before: --retry-failed does them again`);
    return code;
  } finally {
    progress.stop();
    if (inputs.includes(stdinInput)) process.stdin.destroy(); // a list that is not at its end would keep the process
    await inverter.dispose();
    await outputs?.table?.close();
    await outputs?.journal.close();
  }
}

/** Throws `INVALID_OPTION` for flags that do not go together. */
function checkFlags({ out, csv, sidecars, existing }: BatchFlags): void {
  if (existing !== undefined && sidecars !== true) {
    throw new FkinvError('INVALID_OPTION', '--existing: is of --sidecars, which is not given');
  }
  if (csv !== undefined && path.resolve(csv) === path.resolve(out)) {
    throw new FkinvError('INVALID_OPTION', '--csv: is the file of --out, and must be another');
  }
}

/** Inverts the images of `inputs`, prints the summary, and gives the exit code. */
async function invertAll(
  inverter: Inverter,
  inputs: string[],
  options: InvertAllOptions,
  provenance: Provenance,
  outputs: Outputs,
  progress: BatchProgress,
): Promise<number> {
  const failed = new Map<string, number>();
  let unreadable = 0;
  const onUnreadable = (message: string): void => {
    unreadable++;
    progress.fail({ code: 'IMAGE_NOT_FOUND', message });
  };
  const onRecord = (record: ImageRecord): void => {
    progress.add('error' in record ? 'failed' : 'done');
    if (!('error' in record)) return;
    const { code } = record.error;
    failed.set(code, (failed.get(code) ?? 0) + 1);
    progress.fail(record.error, record.image);
  };
  const onStop = (): void => {
    progress.warn('finishes what was begun; once more ends at once, and the same command goes on');
  };
  progress.start();
  return untilInterruptedTwice(onStop, async (stop, abort) => {
    countImages(inputs, stop).then(
      (total) => (progress.standing.total = total),
      () => undefined, // the batch itself tells what is wrong
    );
    const watch = { stop, abort, onSkip: () => progress.add('skipped'), onRecord };
    try {
      await runBatch(inverter, imagesOf(inputs, process.stdin, onUnreadable), options, provenance, outputs, watch);
    } catch (error) {
      if (!(error instanceof FkinvError) || error.code !== 'ABORTED') throw error;
    }
    process.stdout.write(summary(progress, failed, outputs.journal.file, stop.aborted));
    if (stop.aborted) return exitCodes.interrupted;
    const { done, failed: lost, skipped } = progress.standing;
    if (done + lost + skipped + unreadable > 0) return lost + unreadable > 0 ? exitCodes.failed : exitCodes.done;
    throw new FkinvError('INVALID_OPTION', `${inputs.join(', ')}: there is no image`);
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

/** One line at the end. */
function summary(progress: BatchProgress, failed: Map<string, number>, out: string, isInterrupted: boolean): string {
  const rate = progress.finish();
  const { bold, dim, red } = coloursOf(process.stdout);
  const { done, skipped, failed: lost } = progress.standing;
  const codes = [...failed].map(([code, count]) => `${count} ${code}`).join(', ');
  const parts = [
    bold(`${done} done`),
    `${skipped} skipped`,
    lost === 0 ? '0 failed' : red(`${lost} failed (${codes})`),
    dim(done + lost > 0 ? `${rate.toFixed(2)} images/s  ${out}` : out),
  ];
  return `${isInterrupted ? 'interrupted: ' : ''}${parts.join('  ')}\n`;
}
