import path from 'node:path';
import { Option, type Command } from 'commander';
import { bulk, enqueue, retryAllFailed, type EnqueueOptions } from '../bulk/enqueue';
import { LeftOut } from '../bulk/formats';
import { checkInputs, imagesOf } from '../bulk/inputs';
import { openQueue, type JobData, type OpenQueue } from '../bulk/queue';
import { FkinvError } from '../errors';
import { invertSchema, type ImageOptions } from '../options';
import { validate } from '../util/validate';
import { section } from './help';
import { addListFlag, addSamplerFlags } from './invert-flags';
import { addQueueFlags, addressOf, wholeNumber, type QueueFlags } from './queue-flags';
import { printable } from './printable';
import { exitCodes, reportError, reportWarning } from './report';

interface Flags extends QueueFlags, ImageOptions {
  null?: true;
  attempts: number;
  backoff: number;
  retryFailed?: true;
}

/** Adds `fkinv enqueue` to `program`; `finish` is given its exit code. */
export function addEnqueueCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('enqueue')
    .description('Put images into a queue, for workers on any machines.')
    .argument('[folder...]', 'as of fkinv batch: folders, files, globs in quotes, or - for a list on stdin')
    .action(async (inputs: string[], flags: Flags) => finish(await runEnqueue(inputs, flags)));
  addSamplerFlags(addQueueFlags(addListFlag(command)))
    .optionsGroup('Queue:')
    .addOption(
      new Option(
        '--attempts <n>',
        'how often an image is tried that fails for a passing reason, or takes down its worker (1 to 100; default 3)',
      )
        .argParser(wholeNumber(1, 100))
        .default(3),
    )
    .addOption(
      new Option('--backoff <seconds>', 'before the second; before each later one twice as many (1 to 3600; default 5)')
        .argParser(wholeNumber(1, 3600))
        .default(5),
    )
    .option('--retry-failed', 'put back images that have failed: these, or without any, all in the queue')
    .helpOption('-h, --help', 'print this')
    .addHelpText('after', explanation);
}

const explanation = [
  '\nAn image is queued by its whole path, which workers must see too. One that is in the\nqueue with the same options is left as it is, but for --retry-failed.',
  section('Examples:', [
    'fkinv enqueue photos --redis redis://localhost:6379 --queue photos',
    "FKINV_REDIS=redis://:password@host fkinv enqueue '/shared/**/*.jpg' --queue photos --seed 7",
    'fkinv enqueue --retry-failed --redis redis://localhost:6379 --queue photos',
  ]),
].join('\n');

async function runEnqueue(inputs: string[], flags: Flags): Promise<number> {
  const { redis, queue: name, attempts, backoff, retryFailed = false, null: isNull, ...options } = flags;
  const nullSeparated = isNull === true;
  const address = addressOf(redis, name);
  validate(invertSchema, options, 'options');
  if (inputs.length === 0) checkFlagsWithoutInputs(retryFailed, options);
  await checkInputs(inputs, nullSeparated);
  const queue = await openQueue(address, reportWarning);
  try {
    if (inputs.length > 0) {
      const how = { attempts, backoff: backoff * 1000, retryFailed };
      return await enqueueAll(queue, name, { inputs, nullSeparated }, options, how);
    }
    process.stdout.write(`${countOf(await retryAllFailed(queue))} put back into the queue ${printable(name)}\n`);
    return exitCodes.done;
  } finally {
    await queue.close();
  }
}

function checkFlagsWithoutInputs(retryFailed: boolean, options: ImageOptions): void {
  if (!retryFailed) {
    throw new FkinvError('INVALID_OPTION', 'no image is named: give folders, files, globs, - or --retry-failed');
  }
  const [first] = Object.keys(options);
  if (first === undefined) return;
  const message = `${first}: without a folder or file, --retry-failed puts images back with the options they had`;
  throw new FkinvError('INVALID_OPTION', message);
}

async function enqueueAll(
  queue: OpenQueue,
  name: string,
  { inputs, nullSeparated }: { inputs: string[]; nullSeparated: boolean },
  options: ImageOptions,
  enqueueOptions: EnqueueOptions,
): Promise<number> {
  let unreadable = 0;
  const onUnreadable = (message: string): void => {
    unreadable++;
    reportError(new FkinvError('IMAGE_NOT_FOUND', message), false);
  };
  const all = { count: 0, there: 0, failed: 0 };
  const leftOut = new LeftOut();
  const reading = { nullSeparated, onUnreadable, onLeftOut: (file: string) => leftOut.add(file) };
  const add = async (jobs: JobData[]): Promise<void> => {
    const { there, failed } = await enqueue(queue, jobs, enqueueOptions);
    all.count += jobs.length;
    all.there += there;
    all.failed += failed;
  };
  const jobs: JobData[] = [];
  for await (const image of imagesOf(inputs, process.stdin, reading)) {
    // JSON has no bigint: a seed of more than 53 bits goes as a text.
    const own = typeof options.seed === 'bigint' ? { ...options, seed: String(options.seed) } : options;
    jobs.push({ image: path.resolve(image), options: own as ImageOptions });
    if (jobs.length === bulk) await add(jobs.splice(0));
  }
  await add(jobs);
  const { count, there, failed } = all;
  if (count === 0) {
    const without = leftOut.message === undefined ? '' : `; ${leftOut.message}`;
    throw new FkinvError('INVALID_OPTION', `${inputs.join(', ')}: there is no image${without}`);
  }
  if (leftOut.message !== undefined) reportWarning(leftOut.message);
  const parts = [`${countOf(count)} in the queue ${printable(name)}`];
  if (there > 0) parts.push(`${there} of them ${there === 1 ? 'was' : 'were'} there before`);
  if (failed > 0 && enqueueOptions.retryFailed) parts.push(`${failed} had failed and ${areOrIs(failed)} put back`);
  process.stdout.write(`${parts.join(', ')}\n`);
  if (failed > 0 && !enqueueOptions.retryFailed) {
    reportWarning(
      `${countOf(failed)} had failed and ${areOrIs(failed)} left so: --retry-failed puts ${failed === 1 ? 'it' : 'them'} back`,
    );
  }
  return unreadable > 0 ? exitCodes.failed : exitCodes.done;
}

function countOf(images: number): string {
  return `${images} image${images === 1 ? '' : 's'}`;
}

function areOrIs(count: number): string {
  return count === 1 ? 'is' : 'are';
}
