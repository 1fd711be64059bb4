import { openQueue } from '../bulk/queue';
import { QueueWorker } from '../bulk/work';
import { BatchProgress } from './batch-progress';
import { coloursOf } from './colours';
import { untilInterruptedTwice } from './interrupts';
import { split, type LoadFlags } from './invert-flags';
import { loadWithHashes } from './load';
import { addressOf, type QueueFlags } from './queue-flags';
import { printable } from './printable';
import { exitCodes } from './report';

/** What the flags of `fkinv worker` come to. */
export interface WorkerFlags extends QueueFlags, LoadFlags {
  results?: string;
  root?: string[];
  concurrency?: number;
  lock: number;
  quiet?: true;
}

/** Does `fkinv worker`, and gives its exit code. */
export async function runWorker(flags: WorkerFlags): Promise<number> {
  const { load, others } = split(flags);
  const { redis, queue: name, results, root: roots, concurrency, lock, quiet } = others;
  const address = addressOf(redis, name);
  const progress = new BatchProgress(quiet === true ? 'none' : 'people');
  const onWarning = (warning: string): void => progress.warn(warning);
  await openQueue(address, onWarning).then((queue) => queue.close()); // which says at once what is wrong
  if (roots === undefined)
    onWarning('without --root, whoever may enqueue has any file inverted that this user may read');
  const { inverter, models } = await loadWithHashes(load, onWarning, quiet === true);
  const fatal = new AbortController();
  try {
    const onStop = (): void => progress.warn('finishes what was begun; once more ends at once');
    progress.start();
    return await untilInterruptedTwice(onStop, async (stop, abort) => {
      const worker = await QueueWorker.start(inverter, {
        ...address,
        results,
        roots,
        concurrency: concurrency ?? inverter.inFlight * 2,
        lockDuration: lock * 1000,
        models,
        onDone: () => progress.add('done'),
        onFailed: (error, image) => {
          progress.add('failed');
          progress.fail(error, image);
        },
        onWarning,
        onFatal: (error) => fatal.abort(error),
      });
      if (quiet !== true) process.stderr.write(`takes jobs of ${printable(name)} on ${inverter.device}\n`);
      await Promise.race([aborted(stop), aborted(fatal.signal)]);
      const ending = fatal.signal.aborted ? worker.abandon() : worker.finish();
      const end = await Promise.race([ending, aborted(abort)]);
      fatal.signal.throwIfAborted();
      progress.stop();
      if (abort.aborted) {
        await worker.handBack();
        process.exit(exitCodes.interrupted); // what is being inverted is not waited for
      }
      return summarize(progress, end?.untold);
    });
  } finally {
    progress.stop();
    await inverter.dispose();
  }
}

/**
 * Prints what came of the jobs, and gives the exit code: that of a failure if one failed, or came to an end that Redis, which is away, does
 * not know (`untold`, undefined where it is there).
 */
function summarize(progress: BatchProgress, untold: number | undefined): number {
  const { done, failed } = progress.report;
  const { bold } = coloursOf(process.stdout);
  process.stdout.write(`${bold(`${done} done`)}  ${failed} failed\n`);
  if (untold === undefined) return failed > 0 ? exitCodes.failed : exitCodes.done;
  const open =
    untold === 0 ? 'no job is open' : `other workers will do ${untold} again, which it does not know to have ended`;
  progress.warn(`Redis is away, ends without it: ${open}`);
  process.exit(failed + untold > 0 ? exitCodes.failed : exitCodes.done); // the connection would keep the process, trying
}

/** Resolves once the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
