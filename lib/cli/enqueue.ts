import path from 'node:path';
import { Option, type Command } from 'commander';
import { checkInputs, imagesOf, LeftOut } from '../bulk/inputs';
import { jobIdOf, jobName, openQueue, unavailable, type JobData } from '../bulk/queue';
import { FkinvError } from '../errors';
import { invertSchema, type ImageOptions } from '../options';
import { validate } from '../util/validate';
import { section } from './help';
import { addListFlag, addSamplerFlags } from './invert-flags';
import { addQueueFlags, wholeNumber, type QueueFlags } from './queue-flags';
import { printable } from './printable';
import { exitCodes, reportError, reportWarning } from './report';

interface Flags extends QueueFlags, ImageOptions {
  null?: true;
  attempts: number;
  backoff: number;
}

/** Jobs that are put into the queue at a time. */
const bulk = 1000;

/** Adds `fkinv enqueue` to `program`; `finish` is given its exit code. */
export function addEnqueueCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('enqueue')
    .description('Put images into a queue, for workers on any machines.')
    .argument('<folder...>', 'as of fkinv batch: folders, files, globs in quotes, or - for a list on stdin')
    .action(async (inputs: string[], flags: Flags) => finish(await enqueue(inputs, flags)));
  addSamplerFlags(addQueueFlags(addListFlag(command)))
    .optionsGroup('Queue:')
    .addOption(
      new Option('--attempts <n>', 'how often an image is tried that fails for a passing reason (1 to 100; default 3)')
        .argParser(wholeNumber(1, 100))
        .default(3),
    )
    .addOption(
      new Option('--backoff <seconds>', 'before the second; before each later one twice as many (1 to 3600; default 5)')
        .argParser(wholeNumber(1, 3600))
        .default(5),
    )
    .helpOption('-h, --help', 'print this')
    .addHelpText('after', explanation);
}

const explanation = [
  '\nAn image is queued by its whole path, which workers must see too. One that is in\nthe queue with the same options, done or not, is left as it is.',
  section('Examples:', [
    'fkinv enqueue photos --redis redis://localhost:6379 --queue photos',
    "fkinv enqueue '/shared/**/*.jpg' --redis redis://host:6379 --queue photos --seed 7",
  ]),
].join('\n');

async function enqueue(inputs: string[], flags: Flags): Promise<number> {
  const { redis, queue: name, attempts, backoff, null: isNull, ...options } = flags;
  const nullSeparated = isNull === true;
  validate(invertSchema, options, 'options');
  await checkInputs(inputs, nullSeparated);
  const queue = await openQueue({ redis, queue: name });
  let unreadable = 0;
  const onUnreadable = (message: string): void => {
    unreadable++;
    reportError(new FkinvError('IMAGE_NOT_FOUND', message), false);
  };
  const leftOut = new LeftOut();
  const reading = { nullSeparated, onUnreadable, onLeftOut: (file: string) => leftOut.add(file) };
  let count = 0;
  const add = async (jobs: JobData[]): Promise<void> => {
    const opts = { attempts, backoff: { type: 'exponential', delay: backoff * 1000 } };
    const all = jobs.map((data) => ({ name: jobName, data, opts: { ...opts, jobId: jobIdOf(data) } }));
    await queue.addBulk(all).catch((cause: unknown) => Promise.reject(unavailable(redis, cause)));
    count += jobs.length;
  };
  try {
    const jobs: JobData[] = [];
    for await (const image of imagesOf(inputs, process.stdin, reading)) {
      // JSON has no bigint: a seed of more than 53 bits goes as a text.
      const own = typeof options.seed === 'bigint' ? { ...options, seed: String(options.seed) } : options;
      jobs.push({ image: path.resolve(image), options: own as ImageOptions });
      if (jobs.length === bulk) await add(jobs.splice(0));
    }
    await add(jobs);
  } finally {
    await queue.close().catch(() => undefined);
  }
  if (count === 0)
    throw new FkinvError(
      'INVALID_OPTION',
      `${inputs.join(', ')}: there is no image${leftOut.message === undefined ? '' : `; ${leftOut.message}`}`,
    );
  if (leftOut.message !== undefined) reportWarning(leftOut.message);
  process.stdout.write(`${count} image${count === 1 ? '' : 's'} in the queue ${printable(name)}\n`);
  return unreadable > 0 ? exitCodes.failed : exitCodes.done;
}
