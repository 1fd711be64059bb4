import { Option, type Command } from 'commander';
import { existingModes } from '../bulk/sidecars';
import { formats } from '../bulk/formats';
import type { BatchFlags } from './batch-run';
import { section } from './help';
import { addBulkFlags, addListFlag } from './invert-flags';

/** Adds `fkinv batch` to `program`; `finish` is given its exit code. */
export function addBatchCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('batch')
    .description('Recover a prompt of every image in folders; go on where it was interrupted.')
    .argument('<folder...>', 'folders, files, globs in quotes, or - for a list of files on stdin')
    .action(async (inputs: string[], flags: BatchFlags) => {
      // Here, so that the other commands work where the addon does not load.
      const { batch } = await import('./batch-run.js');
      finish(await batch(inputs, flags));
    });
  addBulkFlags(addListFlag(command))
    .optionsGroup('Output:')
    .requiredOption('--out <file>', 'results: JSON lines, a record an image, from which a rerun goes on; - is stdout')
    .option('--csv <file>', 'a table of them too')
    .option('--csv-bom', 'begin it with a byte order mark, by which Excel knows that it is UTF-8')
    .option('--sidecars', 'the prompt in a text file beside each image too, cat.txt of cat.jpg')
    .addOption(
      new Option('--existing <how>', `where that is there already (${existingModes.join(', ')}; default skip)`).choices(
        existingModes,
      ),
    )
    .option('--retry-failed', 'do images again that failed before')
    .option('--json-progress', 'progress, warnings and failures as JSON lines, on stderr')
    .option('-q, --quiet', 'no progress, no warnings, no error of an image: the results have it')
    .helpOption('-h, --help', 'print this')
    .addHelpText('after', explanation);
}

const explanation = [
  section('It goes through:', [
    `formats     ${formats}`,
    'folders     every image anywhere in them, by its extension, in any case;',
    '            one of another format, HEIC or BMP, is left out and counted',
    "globs       'photos/**/*.jpg', in quotes, for the shell not to expand them",
    '-           the files of a list on stdin, a line each; with -0 between NULs',
  ]),
  '\nAn image that has a record in the results is done: the same command again does\nthe rest. Ctrl-C once finishes what was begun, twice ends at once.',
  section('Examples:', [
    'fkinv batch photos --out results.jsonl',
    "fkinv batch 'photos/**/*.jpg' --out results.jsonl --sidecars --csv results.csv",
    'find photos -newer last -print0 | fkinv batch - -0 --out results.jsonl',
    'fkinv batch photos --out results.jsonl --retry-failed',
  ]),
].join('\n');
