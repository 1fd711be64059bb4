import { Argument, Option, type Command } from 'commander';
import { folderOf } from './folder';
import { section } from './help';
import { deviceFlag } from './invert-flags';
import { checkModels, type CheckFlags } from './models-check';
import { listModels, pullModels, removeModels, type ListFlags, type PullFlags, type RemoveFlags } from './models-store';

/** Adds `fkinv models` to `program`; `finish` is given its exit code. */
export function addModelsCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('models')
    .description('Fetch models, list or remove them, and check model folders: files, graphs, manifest, parity.')
    .enablePositionalOptions() // flags behind a word such as list are of that one
    .helpCommand(false)
    .addHelpText('after', section('Without one of the commands it is fkinv models check.', examples));
  asCheck(command, finish);
  asCheck(command.command('check').description('Check model folders, the embedded models if none is given.'), finish);
  command
    .command('pull')
    .description('Fetch models from the Hugging Face Hub into its cache.')
    .argument('<name...>', 'hf:org/name, with :variant and @revision behind it')
    .addOption(deviceFlag())
    .addOption(yesFlag('fetch without a question'))
    .action(async (names: string[], flags: PullFlags) => finish(await pullModels(names, flags)));
  command
    .command('list')
    .description('List the models in the cache, and those that are known.')
    .option('--json', 'a JSON line a model')
    .action(async (flags: ListFlags) => finish(await listModels(flags)));
  command
    .command('rm')
    .description('Remove models from the cache, one variant or revision of them, or all.')
    .argument('<name...>', 'hf:org/name, with :variant and @revision behind it')
    .addOption(yesFlag('remove without a question'))
    .action(async (names: string[], flags: RemoveFlags) => finish(await removeModels(names, flags)));
}

const examples = [
  'fkinv models pull hf:Xenova/clip-vit-base-patch32',
  'fkinv models list',
  'fkinv models check my-dllm my-clip',
];

function asCheck(command: Command, finish: (code: number) => void): void {
  command
    .addArgument(
      new Argument(
        '[folder...]',
        'folders or names of a dLLM or a CLIP; a dLLM is held against the CLIP given with it',
      ).argParser((folder: string, before: string[] | undefined) => [...(before ?? []), folderOf(folder)]),
    )
    .addOption(deviceFlag())
    .option('--json', 'print the whole reports, a JSON line a folder')
    .action(async (folders: string[] | undefined, flags: CheckFlags) =>
      finish(await checkModels(folders ?? [], flags)),
    );
}

function yesFlag(what: string): Option {
  return new Option('-y, --yes', what);
}
