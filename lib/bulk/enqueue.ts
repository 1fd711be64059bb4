import type { Job, Queue } from 'bullmq';
import { jobIdOf, jobName, type JobData, type OpenQueue } from './queue';

/** How jobs are put into a queue. */
export interface EnqueueOptions {
  /** How often a job is tried. */
  attempts: number;
  /** Milliseconds before the second attempt; before each later one twice as many. */
  backoff: number;
  /** Whether failed jobs are put back into the queue. */
  retryFailed: boolean;
}

/** How many of the jobs were there with the same options, and how many of these had failed: left so, or put back. */
export interface Found {
  there: number;
  failed: number;
}

/** How many jobs Redis is asked about, or given, at a time. */
export const bulk = 1000;

/** Puts these jobs into the queue, at most {@link bulk}; those that are there stay as they are, but for failed ones. */
export async function enqueue({ ask }: OpenQueue, jobs: JobData[], options: EnqueueOptions): Promise<Found> {
  const { attempts, backoff, retryFailed } = options;
  const byId = new Map(jobs.map((data) => [jobIdOf(data), data])); // one that is named twice is there once
  const states = await ask((queue) =>
    Promise.all([...byId.keys()].map(async (id) => ({ id, state: await queue.getJobState(id) }))),
  );
  const idsOf = (isMeant: (state: string) => boolean): string[] =>
    states.filter(({ state }) => isMeant(state)).map(({ id }) => id);
  const failed = idsOf((state) => state === 'failed');
  const added = new Set(idsOf((state) => state === 'unknown'));
  const opts = { attempts, backoff: { type: 'exponential', delay: backoff } };
  const all = [...byId]
    .filter(([id]) => added.has(id))
    .map(([jobId, data]) => ({ name: jobName, data, opts: { ...opts, jobId } }));
  if (all.length > 0) await ask((queue) => queue.addBulk(all));
  if (retryFailed) {
    await ask((queue) => Promise.all(failed.map(async (id) => putBack(await queue.getJob(id)))));
  }
  return { there: byId.size - added.size, failed: failed.length };
}

/** Puts all failed jobs of the queue back, and gives how many; those that fail in the meantime stay. */
export async function retryAllFailed({ ask }: OpenQueue): Promise<number> {
  let count = 0;
  for (let left = await ask((queue) => queue.getFailedCount()); left > 0;) {
    const oldest = (queue: Queue<JobData>): Promise<Job<JobData>[]> =>
      queue.getJobs('failed', 0, Math.min(left, bulk) - 1, true);
    const jobs = await ask(oldest);
    if (jobs.length === 0) break;
    await ask(() => Promise.all(jobs.map(putBack)));
    count += jobs.length;
    left -= jobs.length;
  }
  return count;
}

/** Has a failed job tried again as often as it was at first, whatever it has cost; it keeps its id and options. */
async function putBack(job: Job<JobData> | undefined): Promise<void> {
  if (job === undefined) return;
  const { data } = job;
  if (typeof data === 'object' && 'alone' in data) {
    await job.updateData({ image: data.image, options: data.options });
  }
  try {
    await job.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true });
  } catch (error) {
    if (await job.isFailed()) throw error; // otherwise someone else has put it back
  }
}
