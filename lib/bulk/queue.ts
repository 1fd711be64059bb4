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
  /** Written by workers, where the job has taken one down, or may have. */
  alone?: RunAlone;
}

/** A job's data as it comes, from whoever has put it there: the options are checked where they are used. */
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

/** Milliseconds after which it is said that Redis does not answer, and after which nothing more is waited for. */
const patience = { told: 2000, ended: 10_000 };

/** A queue of BullMQ, asked so that a Redis that does not answer is an error. */
export interface OpenQueue {
  /** What `question` comes to. Throws `REDIS_UNAVAILABLE` where that fails, or takes longer than 10 seconds; after 2 that is told. */
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
  queue.on('error', () => undefined); // told by what is asked of it
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
    // To close asks Redis to end the connection, and would wait for its answer.
    await (hasFailed ? queue.disconnect() : queue.close()).catch(() => undefined);
  };
  try {
    await ask(() => queue.waitUntilReady());
    return { ask, close };
  } catch (error) {
    await queue.close().catch(() => undefined); // which, before a first answer, asks for none
    throw error;
  }
}

/** What `answer` comes to, if that is in time. */
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

/** What an address is called without the password that may be in it. */
function shown(redis: string): string {
  const { protocol, host } = new URL(redis);
  return `${protocol}//${host}`;
}

function unavailable(redis: string, cause: unknown): FkinvError {
  return new FkinvError('REDIS_UNAVAILABLE', `Redis at ${shown(redis)}: ${messageOf(cause)}`, { cause });
}

/** The job's id, by what it asks for: what is put into a queue twice is there once. */
export function jobIdOf({ image, options }: Pick<JobData, 'image' | 'options'>): string {
  const sorted = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([image, sorted]))
    .digest('hex')
    .slice(0, 32);
}
