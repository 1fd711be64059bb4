import { mkdir } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import type { Job, Worker } from 'bullmq';
import { FkinvError, messageOf } from '../errors';
import type { Inversion, TraceStep } from '../inversion';
import type { Inverter } from '../inverter';
import type { ImageOptions } from '../options';
import { validate } from '../util/validate';
import { outputFailed } from '../files/disk';
import { writeResult } from './job-results';
import { jobSchema, loadBullmq, type JobData, type QueueAddress } from './queue';
import { provenanceOf, recordOf, type ImageRecord, type Provenance } from './record';
import { fileOfJob, rootsOf } from './roots';
import { beginAlone, Company, deathsOf } from './suspects';

/** How a worker works. */
export interface WorkOptions extends QueueAddress {
  /** Folder of the results, a file a job; else they are the jobs' return values. */
  results: string | undefined;
  /** Folders whose files jobs may name; undefined where they may name any. */
  roots: readonly string[] | undefined;
  /** The most jobs that are done at the same time. */
  concurrency: number;
  /** Milliseconds after which the jobs of a worker that is silent are another's. */
  lockDuration: number;
  models: Provenance['models'];
  /** Called when Redis knows that a job is done. */
  onDone: () => void;
  /** Called when Redis knows that a job has failed for this reason and is not tried again. */
  onFailed: (error: { code: string; message: string }, image: string) => void;
  /** Called when a job has failed for a reason that may pass, so that it is tried again, or when Redis has failed. */
  onWarning: (message: string) => void;
  /** Called when the engine can do no more jobs. */
  onFatal: (error: FkinvError) => void;
}

/** Codes of failures that may pass: a job that fails so is tried again, as often as whoever put it into the queue allows. */
const passing = new Set(['IMAGE_NOT_FOUND', 'OUT_OF_MEMORY', 'MODEL_RUN', 'CUDA_FAILED', 'OUTPUT_FAILED', 'DISPOSED']);

/** Milliseconds between two reports of how far a job is. */
const progressInterval = 500;

/** Milliseconds that Redis has to take what a worker that ends has to say, from when it has done all that it had begun. */
const patience = { finish: 5000, handBack: 1000 };

/** Takes jobs from a queue. */
export class QueueWorker {
  readonly #inverter: Inverter;
  readonly #options: WorkOptions;
  readonly #roots: Awaited<ReturnType<typeof rootsOf>> | undefined;
  readonly #errors: Pick<typeof import('bullmq'), 'UnrecoverableError' | 'WaitingError'>;
  readonly #worker: Worker<JobData>;
  readonly #company: Company;
  /** The jobs whose end Redis is not known to know, by their ids. */
  readonly #open = new Map<string, { job: Job<JobData>; token: string | undefined }>();
  /** What came of jobs that have failed for good, by their ids, until Redis knows. */
  readonly #records = new Map<string, ImageRecord>();

  /** Takes jobs at once. Throws `INVALID_OPTION` for a root that is no folder, `OUTPUT_FAILED` for a folder of results that cannot be made. */
  static async start(inverter: Inverter, options: WorkOptions): Promise<QueueWorker> {
    const { results, roots } = options;
    const known = roots === undefined ? undefined : await rootsOf(roots);
    if (results !== undefined)
      await mkdir(results, { recursive: true }).catch(outputFailed('make the folder', results));
    return new QueueWorker(inverter, options, known, await loadBullmq());
  }

  private constructor(
    inverter: Inverter,
    options: WorkOptions,
    roots: Awaited<ReturnType<typeof rootsOf>> | undefined,
    bullmq: typeof import('bullmq'),
  ) {
    this.#inverter = inverter;
    this.#options = options;
    this.#roots = roots;
    this.#errors = bullmq;
    const { redis, queue, concurrency, lockDuration, onWarning } = options;
    this.#worker = new bullmq.Worker<JobData>(queue, (job, token) => this.#process(job, token), {
      connection: { url: redis, maxRetriesPerRequest: null },
      concurrency,
      lockDuration,
      stalledInterval: lockDuration,
      maxStalledCount: Number.MAX_SAFE_INTEGER, // suspects.ts counts, as BullMQ would count a neighbour's death too
    });
    this.#company = new Company(this.#worker, concurrency);
    this.#worker.on('error', (error) => onWarning(`Redis: ${error.message}`));
    this.#worker.on('completed', ({ id = '' }) => {
      this.#open.delete(id);
      options.onDone();
    });
    this.#worker.on('failed', (job, error) => this.#onFailed(job, error));
    // These jobs are other workers' by now, which report their ends.
    this.#worker.on('lockRenewalFailed', (ids) => {
      for (const id of ids) {
        this.#open.delete(id);
        this.#records.delete(id);
      }
    });
  }

  /**
   * Takes no more jobs, and resolves when Redis knows the end of all that were begun; where it is away, 5 seconds after the last of
   * them has ended. Then `untold` is how many there are whose end Redis does not know: they are others' when their locks end.
   */
  async finish(): Promise<{ untold: number | undefined }> {
    const waiting = new AbortController();
    const late = this.#idleFor(patience.finish, waiting.signal).then(() => false);
    const inTime = await Promise.race([this.#worker.close().then(() => true), late]);
    waiting.abort();
    await late.catch(() => undefined); // it rejects because it was aborted
    return { untold: inTime ? undefined : this.#open.size };
  }

  /** Ends at once: no job is waited for, and nothing is told. */
  async abandon(): Promise<void> {
    await this.#worker.close(true);
  }

  /** Puts what was begun back into the queue, so that it waits for no lock and is no suspect; where Redis is away, for a second at most. */
  async handBack(): Promise<void> {
    const all = [...this.#open.values()].map(({ job, token }) => job.moveToWait(token));
    await Promise.race([Promise.allSettled(all), setTimeout(patience.handBack)]);
  }

  /** Resolves when no job has been done for so many milliseconds. */
  async #idleFor(duration: number, signal: AbortSignal): Promise<void> {
    do {
      while (this.#company.size > 0) await setTimeout(50, undefined, { signal });
      await setTimeout(duration, undefined, { signal });
    } while (this.#company.size > 0); // one that was on its way from Redis has come
  }

  async #process(job: Job<JobData>, token: string | undefined): Promise<object> {
    this.#open.set(job.id ?? '', { job, token });
    const value = await this.#company.admit(job, token, () => this.#valueOf(job));
    if (value !== undefined) return value;
    this.#open.delete(job.id ?? '');
    throw new this.#errors.WaitingError();
  }

  /** What a job returns. Throws what may pass, and BullMQ's `UnrecoverableError` where it has failed for good. */
  async #valueOf(job: Job<JobData>): Promise<object> {
    const { results } = this.#options;
    const record = await this.#recordOf(job);
    const file = results === undefined ? undefined : await writeResult(results, job.id ?? '', record);
    if (!('error' in record)) return file === undefined ? record : { file };
    this.#records.set(job.id ?? '', record);
    throw new this.#errors.UnrecoverableError(`${record.error.code}: ${record.error.message}`);
  }

  /** What a job comes to. Throws what may pass, but for the last attempt. */
  async #recordOf(job: Job<JobData>): Promise<ImageRecord> {
    const { models, onFatal } = this.#options;
    let provenance: Provenance = { seed: 0, options: {}, models };
    try {
      const data = validate(jobSchema, job.data, `job ${job.id ?? ''}`);
      const options = withSeed(data.options);
      provenance = provenanceOf(this.#inverter.resolve(options), models);
      const file = await fileOfJob(data.image, this.#roots);
      if (this.#company.isAlone(job)) await beginAlone(job);
      return recordOf(data.image, await this.#invert(job, file, options), provenance);
    } catch (error) {
      if (!(error instanceof FkinvError)) throw error;
      if (error.code === 'CUDA_FAILED') onFatal(error);
      const isLast = job.attemptsMade + deathsOf(job) + 1 >= (job.opts.attempts ?? 1);
      if (passing.has(error.code) && !isLast) throw error;
      return recordOf(imageOf(job), error, provenance);
    }
  }

  #invert(job: Job<JobData>, file: string, options: ImageOptions): Promise<Inversion> {
    let last = 0;
    const onStep = ({ step, steps }: TraceStep): void => {
      const now = performance.now();
      if (now - last < progressInterval && step < steps) return;
      last = now;
      job.updateProgress({ step, steps }).catch(() => undefined); // a report that is lost is no loss
    };
    return this.#inverter.invert(file, { ...options, onStep });
  }

  /** An attempt of a job has failed, and Redis knows: for good if the job is finished. */
  #onFailed(job: Job<JobData> | undefined, error: Error): void {
    if (job === undefined) return;
    const { onWarning, onFailed } = this.#options;
    const image = imageOf(job);
    const code = error instanceof FkinvError ? error.code : 'INTERNAL';
    const record = this.#records.get(job.id ?? '');
    this.#open.delete(job.id ?? '');
    this.#records.delete(job.id ?? '');
    if (job.finishedOn === undefined) {
      onWarning(`${image === '' ? 'a job' : image}: ${error.message} (${code}), attempt ${job.attemptsMade}`);
    } else {
      onFailed(record !== undefined && 'error' in record ? record.error : { code, message: messageOf(error) }, image);
    }
  }
}

/** The image that a job names, if it names one. */
function imageOf(job: Job): string {
  const data: unknown = job.data;
  const image = typeof data === 'object' && data !== null && 'image' in data ? data.image : undefined;
  return typeof image === 'string' ? image : '';
}

/** The job's options; a seed that is a text is one of more than 53 bits. */
function withSeed(options: Record<string, unknown>): ImageOptions {
  const { seed } = options;
  const own = typeof seed === 'string' && /^\d{1,20}$/.test(seed) ? { ...options, seed: BigInt(seed) } : options;
  return own; // the Inverter checks them
}
