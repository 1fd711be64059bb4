import { createHash } from 'node:crypto';
import type { Queue } from 'bullmq';
import { z } from 'zod';
import { FkinvError, messageOf } from '../errors';
import type { ImageOptions } from '../options';

/** What a job of the queue asks for: a file as its workers see it, and options of its inversion. */
export interface JobData {
  image: string;
  options: ImageOptions;
}

/** A job's data as it comes, from whoever has put it there: the options are checked where they are used. */
export const jobSchema = z.strictObject({
  image: z.string({ error: 'must be a file, as a text' }).min(1, 'must be a file'),
  options: z.record(z.string(), z.unknown(), { error: 'must be an object of options' }).default({}),
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

/** The queue, connected. Throws `REDIS_UNAVAILABLE` where that fails at once; it is not tried again. */
export async function openQueue({ redis, queue: name }: QueueAddress): Promise<Queue<JobData>> {
  const { Queue } = await loadBullmq();
  const connection = { url: redis, retryStrategy: () => null, maxRetriesPerRequest: 0 };
  const queue = new Queue<JobData>(name, { connection });
  queue.on('error', () => undefined); // told below, and by what is asked of it
  try {
    await queue.waitUntilReady();
    return queue;
  } catch (cause) {
    await queue.close().catch(() => undefined);
    throw unavailable(redis, cause);
  }
}

/** What an address is called without the password that may be in it. */
function shown(redis: string): string {
  const { protocol, host } = new URL(redis);
  return `${protocol}//${host}`;
}

/** @internal Redis at this address failed. */
export function unavailable(redis: string, cause: unknown): FkinvError {
  return new FkinvError('REDIS_UNAVAILABLE', `Redis at ${shown(redis)}: ${messageOf(cause)}`, { cause });
}

/** The job's id, by what it asks for: what is put into a queue twice is there once. */
export function jobIdOf({ image, options }: JobData): string {
  const sorted = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([image, sorted]))
    .digest('hex')
    .slice(0, 32);
}
