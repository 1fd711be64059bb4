import { hostname } from 'node:os';
import type { Job, Worker } from 'bullmq';
import { z } from 'zod';
import { FkinvError } from '../errors';

// An image can take its worker down with it: a decoder that crashes, memory that the system does not give. BullMQ hands the jobs
// of a worker that is silent to others (they "stall"), and cannot know which of them it was: counted against all of them, healthy
// jobs would fail for their neighbour; counted against none, the one would take down worker after worker.
//
// So a job that has stalled is a suspect, and runs with nothing beside it in its worker. Before it does, that is written
// into the job's data, and a worker that ends during such a run is counted against this job. With the first death, in company, a
// job that is to blame takes down one worker more than its attempts are; every other job of these workers is merely done again.

/** The latest run of a job with nothing beside it, kept in the job's data. */
export const aloneSchema = z.strictObject({
  /** Times that the job had stalled when the run began: if it has more often since, the run was cut off. */
  stalls: z.number(),
  /** Attempts that had failed when it began: if more have since, the run came to an end, and was not cut off. */
  attemptsMade: z.number(),
  /** How many runs before it were cut off. */
  deaths: z.number(),
  /** Host and process of the worker. */
  worker: z.string(),
  /** When it began, in ISO 8601. */
  since: z.string(),
});

/** @see {@link aloneSchema} */
export type RunAlone = z.output<typeof aloneSchema>;

/** What of a BullMQ worker decides how many jobs it takes. */
type Taker = Pick<Worker, 'concurrency'>;

/** Lets jobs into a worker side by side, and suspects only one at a time with nothing beside. */
export class Company {
  /** How many jobs are being done. */
  #inside = 0;
  /** Whether a suspect is in, or waits until the others are out. */
  #isReserved = false;
  #onEmpty: (() => void) | undefined;

  /** `concurrency` is how many jobs `worker` takes while there is no suspect. */
  constructor(
    private readonly worker: Taker,
    private readonly concurrency: number,
  ) {}

  /** How many jobs the worker does now. */
  get size(): number {
    return this.#inside;
  }

  /** Whether a job of this worker has nothing beside it, be it a suspect or not. */
  isAlone(job: Job): boolean {
    return this.concurrency === 1 || isSuspect(job);
  }

  /**
   * Does `run` once `job` may come in. Where a suspect is in, or waits, the job goes back to the front of the queue instead, for another
   * worker or for later, so that it does not go down with the suspect; that gives undefined.
   */
  async admit<T>(job: Job, token: string | undefined, run: () => Promise<T>): Promise<T | undefined> {
    if (this.#isReserved) {
      await job.moveToWait(token);
      return undefined;
    }
    if (isSuspect(job)) await this.#reserve();
    this.#inside++;
    try {
      return await run();
    } finally {
      this.#inside--;
      if (isSuspect(job)) this.#release();
      if (this.#inside === 0) this.#onEmpty?.();
    }
  }

  /** Lets no more jobs in; resolves when all others are out. */
  async #reserve(): Promise<void> {
    this.#isReserved = true;
    this.worker.concurrency = 1;
    if (this.#inside > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve));
    this.#onEmpty = undefined;
  }

  #release(): void {
    this.#isReserved = false;
    this.worker.concurrency = this.concurrency;
  }
}

/** Whether a worker fell silent while it had this job, which may be to blame. */
function isSuspect(job: Job): boolean {
  return job.stalledCounter > 0;
}

/** The latest run of this job with nothing beside it, if there was one; the data may be anything. */
function runAloneOf(job: Job): RunAlone | undefined {
  return z.object({ alone: aloneSchema }).safeParse(job.data).data?.alone;
}

/** How many runs of this job with nothing beside it were cut off by the end of their worker. */
export function deathsOf(job: Job): number {
  const alone = runAloneOf(job);
  if (alone === undefined) return 0;
  const wasCutOff = job.stalledCounter > alone.stalls && job.attemptsMade === alone.attemptsMade;
  return alone.deaths + (wasCutOff ? 1 : 0);
}

/**
 * Writes down that this job begins a run with nothing beside it. Throws `WORKER_DIED` instead if its runs that were cut off, and
 * its attempts that failed, are together as many as it has attempts.
 */
export async function beginAlone(job: Job): Promise<void> {
  const before = runAloneOf(job);
  const deaths = deathsOf(job);
  if (before !== undefined && deaths > 0 && deaths + job.attemptsMade >= (job.opts.attempts ?? 1)) {
    throw workerDied(deaths, before);
  }
  const { stalledCounter: stalls, attemptsMade } = job;
  const worker = `process ${process.pid} on ${hostname()}`;
  const run: RunAlone = { stalls, attemptsMade, deaths, worker, since: new Date().toISOString() };
  await job.updateData({ ...(job.data as object), alone: run });
}

function workerDied(deaths: number, { worker, since }: RunAlone): FkinvError {
  const workers = deaths === 1 ? 'a worker' : `${deaths} workers`;
  const last = deaths === 1 ? 'it was' : 'the last was';
  return new FkinvError(
    'WORKER_DIED',
    `${workers} ended without a word while doing this image and nothing else; ${last} ${worker}, which began at ${since}`,
  );
}
