import { Option, type Command } from 'commander';
import { folderOf } from './folder';
import { section } from './help';
import { addModelFlags } from './invert-flags';
import { addQueueFlags, wholeNumber } from './queue-flags';
import type { WorkerFlags } from './worker-run';

/** Adds `fkinv worker` to `program`; `finish` is given its exit code. */
export function addWorkerCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('worker')
    .description('Invert the images of a queue, until it is told to end.')
    .action(async (flags: WorkerFlags) => {
      // Here, so that the other commands work where the addon does not load.
      const { runWorker } = await import('./worker-run.js');
      finish(await runWorker(flags));
    });
  addModelFlags(addQueueFlags(command).optionsGroup('Models:'))
    .optionsGroup('Queue:')
    .option('--results <folder>', 'write results there, a file a job; otherwise they are in Redis', folderOf)
    .option(
      '--root <folder...>',
      'invert only files in these folders, at any depth, links followed; otherwise any file',
    )
    .addOption(
      new Option(
        '--concurrency <n>',
        'jobs at the same time (1 to 1000; default what can be in flight, twice)',
      ).argParser(wholeNumber(1, 1000)),
    )
    .addOption(
      new Option('--lock <seconds>', 'after which the jobs of a silent worker are another’s (1 to 3600; default 30)')
        .argParser(wholeNumber(1, 3600))
        .default(30),
    )
    .optionsGroup('Output:')
    .option('-q, --quiet', 'no progress, no warnings, no error of an image: the results have it')
    .helpOption('-h, --help', 'print this')
    .addHelpText('after', explanation);
}

const explanation = [
  '\nSIGTERM or Ctrl-C once finishes what was begun, and ends with 1 if a job failed;',
  'twice ends at once. Other workers take over the jobs of one that ends without a word,',
  'each with nothing beside it: one that takes down its worker again has failed an attempt.',
  section('Examples:', [
    'fkinv worker --redis redis://localhost:6379 --queue photos --root photos',
    'FKINV_REDIS=redis://:password@host fkinv worker --queue photos --results /shared/results',
  ]),
].join('\n');
