import { Option, type Command } from 'commander';
import type { ImageRecord } from '../bulk/record';
import { FkinvError } from '../errors';
import { modelFolder } from '../model-folder';
import { BatchProgress } from './batch-progress';
import { coloursOf } from './colours';
import { folderOf } from './folder';
import { section } from './help';
import { untilInterruptedTwice } from './interrupts';
import { addModelFlags, split, type LoadFlags } from './invert-flags';
import { addQueueFlags, wholeNumber, type QueueFlags } from './queue-flags';
import { exitCodes, reportError, reportWarning } from './report';

interface Flags extends QueueFlags, LoadFlags {
  results?: string;
  concurrency?: number;
  lock: number;
  quiet?: true;
}

/** Adds `fkinv worker` to `program`; `finish` is given its exit code. */
export function addWorkerCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('worker')
    .description('Invert the images of a queue, until it is told to end.')
    .action(async (flags: Flags) => finish(await runWorker(flags)));
  addModelFlags(addQueueFlags(command).optionsGroup('Models:'))
    .optionsGroup('Queue:')
    .option('--results <folder>', 'write results there, a file a job; otherwise they are in Redis', folderOf)
    .addOption(
      new Option(
        '--concurrency <n>',
        'jobs at the same time (1 to 1000; default what can be in flight, twice)',
      ).argParser(wholeNumber(1, 1000)),
    )
    .addOption(
      new Option('--lock <seconds>', 'after which the jobs of a silent worker are another’s (1 to 3600; default 30)')
        .argParser(wholeNumber(1, 3600))
        .default(30),
    )
    .optionsGroup('Output:')
    .option('-q, --quiet', 'no progress, no warnings, no error of an image: the results have it')
    .helpOption('-h, --help', 'print this')
    .addHelpText('after', explanation);
}

const explanation = [
  '\nSIGTERM or Ctrl-C once finishes what was begun, twice ends at once; other workers\ntake over the jobs of one that ends without a word.',
  section('Examples:', [
    'fkinv worker --redis redis://localhost:6379 --queue photos',
    'fkinv worker --redis redis://host:6379 --queue photos --results /shared/results',
  ]),
].join('\n');

async function runWorker(flags: Flags): Promise<number> {
  const { load, others } = split(flags);
  const { redis, queue: name, results, concurrency, lock, quiet } = others;
  const [{ Inverter }, { openQueue }, { work }, { hashOfModel }] = await Promise.all([
    import('../inverter.js'), // here, so that the other commands work where it does not load
    import('../bulk/queue.js'),
    import('../bulk/work.js'),
    import('../examine/files.js'),
  ]);
  await openQueue({ redis, queue: name }).then((queue) => queue.close()); // which says at once what is wrong
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
  const shown = (progress = new BatchProgress(quiet === true ? 'none' : 'people'));
  const fatal = new AbortController();
  const onRecord = (record: ImageRecord): void => {
    shown.add('error' in record ? 'failed' : 'done');
    if (!('error' in record) || quiet === true) return;
    shown.clear();
    const { code, message } = record.error;
    reportError(new FkinvError(code as FkinvError['code'], message), false, record.image);
  };
  try {
    const onStop = (): void => warn('finishes what was begun; once more ends at once');
    return await untilInterruptedTwice(onStop, async (stop, abort) => {
      const worker = await work(inverter, {
        redis,
        queue: name,
        results,
        concurrency: concurrency ?? inverter.inFlight * 2,
        lockDuration: lock * 1000,
        models: { dllm, clip },
        onRecord,
        onWarning: warn,
        onFatal: (error) => fatal.abort(error),
      });
      if (quiet !== true) process.stderr.write(`takes jobs of ${name} on ${inverter.device}\n`);
      await aborted(AbortSignal.any([stop, fatal.signal]));
      await Promise.race([worker.close(fatal.signal.aborted), aborted(abort)]);
      fatal.signal.throwIfAborted();
      if (abort.aborted) process.exit(exitCodes.interrupted); // its jobs are another’s when their locks end
      const { done, failed } = shown.standing;
      const { bold } = coloursOf(process.stdout);
      process.stdout.write(`${bold(`${done} done`)}  ${failed} failed\n`);
      return exitCodes.done;
    });
  } finally {
    shown.finish();
    await inverter.dispose();
  }
}

/** Resolves once the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
