import type { Command } from 'commander';
import { Option } from 'commander';
import type { Outputs } from '../bulk/batch';
import { checkInputs, imagesOf, stdinInput } from '../bulk/inputs';
import type { ImageRecord } from '../bulk/record';
import { existingModes, type Existing } from '../bulk/sidecars';
import { FkinvError } from '../errors';
import { modelFolder } from '../model-folder';
import { BatchProgress, type ProgressForm } from './batch-progress';
import { coloursOf } from './colours';
import { section } from './help';
import { untilInterruptedTwice } from './interrupts';
import { addBulkFlags, split, type BulkFlags } from './invert-flags';
import { exitCodes, reportError, reportWarning } from './report';

interface Flags extends BulkFlags {
  out: string;
  csv?: string;
  sidecars?: true;
  existing?: Existing;
  retryFailed?: true;
  jsonProgress?: true;
  quiet?: true;
  verbose?: true;
}

/** Adds `fkinv batch` to `program`; `finish` is given its exit code. */
export function addBatchCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('batch')
    .description('Recover a prompt of every image in folders; go on where it was interrupted.')
    .argument('<folder...>', 'folders, files, globs in quotes, or - for a list of files on stdin')
    .action(async (inputs: string[], flags: Flags) => finish(await batch(inputs, flags)));
  addBulkFlags(command)
    .optionsGroup('Output:')
    .requiredOption('--out <file>', 'results: JSON lines, a record an image; a rerun goes on from it')
    .option('--csv <file>', 'a table of them too')
    .option('--sidecars', 'the prompt in a text file beside each image too, cat.txt of cat.jpg')
    .addOption(
      new Option('--existing <how>', `where that is there already (${existingModes.join(', ')}; default skip)`).choices(
        existingModes,
      ),
    )
    .option('--retry-failed', 'do images again that failed before')
    .option('--json-progress', 'the progress as JSON lines, on stderr')
    .option('-q, --quiet', 'no progress, no warnings, no error of an image: the results have it')
    .option('--verbose', 'the stack of an error too')
    .helpOption('-h, --help', 'print this')
    .addHelpText('after', explanation);
}

const explanation = [
  section('It goes through:', [
    'folders     every image anywhere in them, by its extension, in any case',
    "globs       'photos/**/*.jpg', in quotes, for the shell not to expand them",
    '-           the files that are listed on stdin, a line each',
  ]),
  '\nAn image that has a record in the results is done: the same command again does the\nrest. Ctrl-C once finishes what was begun, twice ends at once.',
  section('Examples:', [
    'fkinv batch photos --out results.jsonl',
    "fkinv batch 'photos/**/*.jpg' --out results.jsonl --sidecars --csv results.csv",
    'find photos -newer last | fkinv batch - --out results.jsonl',
    'fkinv batch photos --out results.jsonl --retry-failed',
  ]),
].join('\n');

async function batch(inputs: string[], flags: Flags): Promise<number> {
  const { load, others } = split(flags);
  const { out, csv, sidecars, existing, retryFailed, jsonProgress, quiet, verbose, ...options } = others;
  if (existing !== undefined && sidecars !== true) {
    throw new FkinvError('INVALID_OPTION', '--existing: is of --sidecars, which is not given');
  }
  await checkInputs(inputs);
  const [{ Inverter }, { Journal }, { Sidecars }, { Table }, { runBatch }, { makingOf }, { hashOfModel }] =
    await Promise.all([
      import('../inverter.js'), // here, so that the other commands work where it does not load
      import('../bulk/journal.js'),
      import('../bulk/sidecars.js'),
      import('../bulk/table.js'),
      import('../bulk/batch.js'),
      import('../bulk/record.js'),
      import('../examine/files.js'),
    ]);
  const form: ProgressForm = jsonProgress === true ? 'json' : quiet === true ? 'none' : 'people';
  let progress: BatchProgress | undefined;
  const warn = (warning: string): void => {
    progress?.clear();
    if (quiet !== true) reportWarning(warning);
  };
  const [inverter, dllm, clip] = await Promise.all([
    Inverter.load({ ...load, onWarning: warn }),
    hashOfModel(modelFolder('dllm', load.dllm as string | undefined), 'dllm'),
    hashOfModel(modelFolder('clip', load.clip as string | undefined), 'clip'),
  ]);
  let outputs: Outputs | undefined;
  try {
    const making = makingOf(inverter.resolve(options), { dllm, clip });
    const journal = await Journal.open(out, making, { retryFailed: retryFailed === true });
    outputs = { journal, sidecars: sidecars === true ? new Sidecars(existing ?? 'skip') : undefined, table: undefined };
    await outputs.sidecars?.complete(journal.last);
    if (csv !== undefined) outputs.table = await Table.begin(csv, journal);
    const shown = (progress = new BatchProgress(form));
    const failed = new Map<string, number>();
    let unreadable = 0;
    const onUnreadable = (message: string): void => {
      unreadable++;
      shown.clear();
      reportError(new FkinvError('IMAGE_NOT_FOUND', message), false);
    };
    const onRecord = (record: ImageRecord): void => {
      shown.add('error' in record ? 'failed' : 'done');
      if (!('error' in record)) return;
      const { code, message } = record.error;
      failed.set(code, (failed.get(code) ?? 0) + 1);
      if (quiet === true) return;
      shown.clear();
      reportError(new FkinvError(code as FkinvError['code'], message), verbose === true, record.image);
    };
    const onStop = (): void => warn('finishes what was begun; once more ends at once, and the same command goes on');
    const given = outputs;
    const code = await untilInterruptedTwice(onStop, async (stop, abort) => {
      const counting = countImages(inputs, abort, stop).then((total) => (shown.standing.total = total));
      counting.catch(() => undefined); // the batch itself tells what is wrong
      const watch = { stop, abort, onSkip: () => shown.add('skipped'), onRecord };
      const images = imagesOf(inputs, process.stdin, onUnreadable);
      try {
        await runBatch(inverter, images, options, making, given, watch);
      } catch (error) {
        if (!(error instanceof FkinvError) || error.code !== 'ABORTED') throw error;
      }
      if (stop.aborted) return exitCodes.interrupted;
      return failed.size > 0 || unreadable > 0 ? exitCodes.failed : exitCodes.done;
    });
    process.stdout.write(summary(shown, failed, out, code === exitCodes.interrupted));
    if (journal.failed > 0) warn(`${journal.failed} of ${out} failed before: --retry-failed does them again`);
    const { done, failed: lost, skipped } = shown.standing;
    if (done + lost + skipped > 0 || code !== exitCodes.done) return code;
    throw new FkinvError('INVALID_OPTION', `${inputs.join(', ')}: there is no image`);
  } finally {
    progress?.clear();
    await inverter.dispose();
    await outputs?.table?.close();
    await outputs?.journal.close();
  }
}

/** How many images there are; null of a list that is read once. */
async function countImages(inputs: string[], ...signals: AbortSignal[]): Promise<number | null> {
  if (inputs.includes(stdinInput)) return null;
  let total = 0;
  for await (const image of imagesOf(inputs, process.stdin)) {
    if (image === '' || signals.some(({ aborted }) => aborted)) return null;
    total++;
  }
  return total;
}

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
