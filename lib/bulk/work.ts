import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Job, Worker } from 'bullmq';
import { FkinvError } from '../errors';
import type { Inversion, TraceStep } from '../inversion';
import type { Inverter } from '../inverter';
import type { ImageOptions } from '../options';
import { validate } from '../util/validate';
import { outputFailed } from '../files/disk';
import { replaceFile } from '../files/write-file';
import { jobSchema, loadBullmq, type JobData, type QueueAddress } from './queue';
import { isOfRecords, provenanceOf, recordOf, type ImageRecord, type Provenance } from './record';

/** How a worker works. */
export interface WorkOptions extends QueueAddress {
  /** Folder of the results, a file a job; else they are the jobs' return values. */
  results: string | undefined;
  /** Jobs at the same time. */
  concurrency: number;
  /** Milliseconds after which the jobs of a worker that is silent are another's. */
  lockDuration: number;
  models: Provenance['models'];
  /** A job has come to this. */
  onRecord: (record: ImageRecord) => void;
  /** A job has failed for a reason that may pass, or Redis has: it is tried again. */
  onWarning: (message: string) => void;
  /** The engine is of no more use. */
  onFatal: (error: FkinvError) => void;
}

/** How often the jobs of silent workers may be taken over: it is no fault of theirs. */
const mostStalls = 1000;

/** Milliseconds between two reports of how far a job is. */
const progressInterval = 500;

/** What may pass: a job that fails so is tried again, as often as whoever put it there allows. */
const passing = new Set(['IMAGE_NOT_FOUND', 'OUT_OF_MEMORY', 'MODEL_RUN', 'CUDA_FAILED', 'OUTPUT_FAILED', 'DISPOSED']);

/** Takes jobs from a queue, until it is closed: then it finishes those that it has begun. Throws `OUTPUT_FAILED`. */
export async function work(inverter: Inverter, options: WorkOptions): Promise<Worker<JobData>> {
  const { redis, queue, results, concurrency, lockDuration, onWarning } = options;
  if (results !== undefined) await mkdir(results, { recursive: true }).catch(outputFailed('make the folder', results));
  const { Worker, UnrecoverableError } = await loadBullmq();
  const worker = new Worker<JobData>(
    queue,
    async (job) => {
      const record = await recordOfJob(inverter, job, options);
      if (results !== undefined) await writeResult(results, job, record);
      options.onRecord(record);
      if ('error' in record) throw new UnrecoverableError(`${record.error.code}: ${record.error.message}`);
      return results === undefined ? record : { file: fileOf(results, job) };
    },
    {
      connection: { url: redis, maxRetriesPerRequest: null },
      concurrency,
      lockDuration,
      stalledInterval: lockDuration,
      maxStalledCount: mostStalls,
    },
  );
  worker.on('error', (error) => onWarning(`Redis: ${error.message}`));
  worker.on('failed', (job, error) => {
    // The others have a record.
    if (!(error instanceof FkinvError)) return;
    onWarning(`${job?.data.image ?? 'a job'}: ${error.message} (${error.code}), attempt ${job?.attemptsMade ?? 0}`);
  });
  return worker;
}

/** What a job comes to. Throws what may pass, but for the last attempt. */
async function recordOfJob(
  inverter: Inverter,
  job: Job<JobData>,
  { models, onFatal }: WorkOptions,
): Promise<ImageRecord> {
  const image = typeof job.data.image === 'string' ? job.data.image : '';
  let provenance: Provenance = { seed: 0, options: {}, models };
  try {
    const data = validate(jobSchema, job.data, `job ${job.id ?? ''}`);
    const options = withSeed(data.options);
    provenance = provenanceOf(inverter.resolve(options), models);
    return recordOf(image, await invert(inverter, job, options), provenance);
  } catch (error) {
    if (!(error instanceof FkinvError)) throw error;
    if (error.code === 'CUDA_FAILED') onFatal(error);
    const isLast = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
    if (passing.has(error.code) && !isLast) throw error;
    return recordOf(image, error, provenance);
  }
}

/** The job's options; a seed that is a text is one of more than 53 bits. */
function withSeed(options: Record<string, unknown>): ImageOptions {
  const { seed } = options;
  const own = typeof seed === 'string' && /^\d{1,20}$/.test(seed) ? { ...options, seed: BigInt(seed) } : options;
  return own; // checked by the Inverter
}

function invert(inverter: Inverter, job: Job<JobData>, options: ImageOptions): Promise<Inversion> {
  let last = 0;
  const onStep = ({ step, steps }: TraceStep): void => {
    const now = performance.now();
    if (now - last < progressInterval && step < steps) return;
    last = now;
    job.updateProgress({ step, steps }).catch(() => undefined); // a report that is lost is no loss
  };
  return inverter.invert(job.data.image, { ...options, onStep });
}

function fileOf(folder: string, { id = '' }: Job): string {
  return path.join(folder, `${id.replaceAll(/[^\w.-]/g, '_')}.json`);
}

/** Written whole, and by whoever does the job again in the same way, maybe at the same time. */
async function writeResult(folder: string, job: Job, record: ImageRecord): Promise<void> {
  const file = fileOf(folder, job);
  const remedy = 'give another --results';
  const kind = { name: 'result of fkinv worker', remedy, isOwn: isOfRecords, goesToStreams: false };
  await replaceFile(file, kind, `${JSON.stringify(record)}\n`);
}
