import { openQueue } from '../bulk/queue';
import type { ImageRecord } from '../bulk/record';
import { work } from '../bulk/work';
import { BatchProgress } from './batch-progress';
import { coloursOf } from './colours';
import { untilInterruptedTwice } from './interrupts';
import { split, type LoadFlags } from './invert-flags';
import { loadWithHashes } from './load';
import type { QueueFlags } from './queue-flags';
import { printable } from './printable';
import { exitCodes } from './report';

/** What the flags of `fkinv worker` come to. */
export interface WorkerFlags extends QueueFlags, LoadFlags {
  results?: string;
  concurrency?: number;
  lock: number;
  quiet?: true;
}

/** Does `fkinv worker`, and gives its exit code. */
export async function runWorker(flags: WorkerFlags): Promise<number> {
  const { load, others } = split(flags);
  const { redis, queue: name, results, concurrency, lock, quiet } = others;
  await openQueue({ redis, queue: name }).then((queue) => queue.close()); // which says at once what is wrong
  const progress = new BatchProgress(quiet === true ? 'none' : 'people');
  const onWarning = (warning: string): void => progress.warn(warning);
  const { inverter, models } = await loadWithHashes(load, onWarning);
  const fatal = new AbortController();
  const onRecord = (record: ImageRecord): void => {
    progress.add('error' in record ? 'failed' : 'done');
    if ('error' in record) progress.fail(record.error, record.image);
  };
  try {
    const onStop = (): void => progress.warn('finishes what was begun; once more ends at once');
    progress.start();
    return await untilInterruptedTwice(onStop, async (stop, abort) => {
      const worker = await work(inverter, {
        redis,
        queue: name,
        results,
        concurrency: concurrency ?? inverter.inFlight * 2,
        lockDuration: lock * 1000,
        models,
        onRecord,
        onWarning,
        onFatal: (error) => fatal.abort(error),
      });
      if (quiet !== true) process.stderr.write(`takes jobs of ${printable(name)} on ${inverter.device}\n`);
      await Promise.race([aborted(stop), aborted(fatal.signal)]);
      await Promise.race([worker.close(fatal.signal.aborted), aborted(abort)]);
      fatal.signal.throwIfAborted();
      progress.stop();
      if (abort.aborted) process.exit(exitCodes.interrupted); // its jobs are another’s when their locks end
      const { done, failed } = progress.report;
      const { bold } = coloursOf(process.stdout);
      process.stdout.write(`${bold(`${done} done`)}  ${failed} failed\n`);
      return exitCodes.done;
    });
  } finally {
    progress.stop();
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
