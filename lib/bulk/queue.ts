import { createHash } from 'node:crypto';
import type { Queue } from 'bullmq';
import { z } from 'zod';
import { FkinvError, messageOf } from '../errors';
import type { ImageOptions } from '../options';
import { aloneSchema, type RunAlone } from './suspects';

/** What a job of the queue asks for: a file as its workers see it, and options of its inversion. */
export interface JobData {
  image: string;
  options: ImageOptions;
  /** The workers' note of a run with nothing beside it; see suspects.ts. */
  alone?: RunAlone;
}

/** The data of a job, which anybody may have put into the queue; its options are checked where they are used. */
export const jobSchema = z.strictObject({
  image: z.string({ error: 'must be a file, as a text' }).min(1, 'must be a file'),
  options: z.record(z.string(), z.unknown(), { error: 'must be an object of options' }).default({}),
  alone: aloneSchema.optional(),
});

/** The name of all jobs. */
export const jobName = 'invert';

/** Where a queue is: an address, `redis://host:6379`, and the queue's name. */
export interface QueueAddress {
  redis: string;
  queue: string;
}

/** BullMQ, where it is installed. Throws `BULLMQ_NOT_FOUND`. */
export async function loadBullmq(): Promise<typeof import('bullmq')> {
  try {
    await import('ioredis');
    return await import('bullmq');
  } catch (cause) {
    const message = `fkinv worker and fkinv enqueue need BullMQ: npm install bullmq ioredis (${messageOf(cause)})`;
    throw new FkinvError('BULLMQ_NOT_FOUND', message, { cause });
  }
}

/** Milliseconds without an answer from Redis after which that is reported, and after which the wait ends with an error. */
const patience = { told: 2000, ended: 10_000 };

/** A queue of BullMQ, asked so that a Redis that does not answer is an error. */
export interface OpenQueue {
  /**
   * Gives what `question` comes to. Throws `REDIS_UNAVAILABLE` where it fails or takes longer than 10 seconds; after 2 seconds a
   * warning says that Redis does not answer.
   */
  ask: <T>(question: (queue: Queue<JobData>) => Promise<T>) => Promise<T>;
  close: () => Promise<void>;
}

/** The queue, connected. Throws `REDIS_UNAVAILABLE`; a connection that fails is not tried again. */
export async function openQueue(
  { redis, queue: name }: QueueAddress,
  onWarning: (message: string) => void,
): Promise<OpenQueue> {
  const { Queue } = await loadBullmq();
  const connection = { url: redis, retryStrategy: () => null, maxRetriesPerRequest: 0 };
  const queue = new Queue<JobData>(name, { connection });
  queue.on('error', () => undefined); // whatever is asked of the queue reports the error
  let hasFailed = false;
  const ask: OpenQueue['ask'] = async (question) => {
    const tell = (): void => onWarning(`Redis at ${shown(redis)} does not answer, still waiting`);
    try {
      return await answered(question(queue), tell);
    } catch (cause) {
      hasFailed = true;
      throw unavailable(redis, cause);
    }
  };
  const close = async (): Promise<void> => {
    // Closing asks Redis to end the connection and waits for its answer, which does not come from one that has failed.
    await (hasFailed ? queue.disconnect() : queue.close()).catch(() => undefined);
  };
  try {
    await ask(() => queue.waitUntilReady());
    return { ask, close };
  } catch (error) {
    await queue.close().catch(() => undefined); // before a first answer, closing waits for none
    throw error;
  }
}

/** What `answer` comes to; rejects where that takes longer than {@link patience} allows, and calls `tell` before. */
async function answered<T>(answer: Promise<T>, tell: () => void): Promise<T> {
  const telling = setTimeout(tell, patience.told);
  let ending: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    const end = (): void => reject(new Error(`no answer for ${patience.ended / 1000} seconds`));
    ending = setTimeout(end, patience.ended);
  });
  try {
    return await Promise.race([answer, tooLate]);
  } finally {
    clearTimeout(telling);
    clearTimeout(ending);
  }
}

/** The address as messages show it: without the password that may be in it. */
function shown(redis: string): string {
  const { protocol, host } = new URL(redis);
  return `${protocol}//${host}`;
}

function unavailable(redis: string, cause: unknown): FkinvError {
  return new FkinvError('REDIS_UNAVAILABLE', `Redis at ${shown(redis)}: ${messageOf(cause)}`, { cause });
}

/** The job's id follows from what it asks for, so that what is put into a queue twice is there once. */
export function jobIdOf({ image, options }: Pick<JobData, 'image' | 'options'>): string {
  const sorted = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([image, sorted]))
    .digest('hex')
    .slice(0, 32);
}
