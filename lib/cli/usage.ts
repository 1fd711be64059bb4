import { statSync } from 'node:fs';
import type { Command, CommanderError } from 'commander';
import { didYouMean } from '../util/suggest';

/** What is wrong with the command line `args`, in one line, and what was probably meant. */
export function faultOf(error: CommanderError, program: Command, args: string[]): string {
  const [first = ''] = args;
  const command = commandOf(program, args);
  if (command === undefined && first !== '' && !first.startsWith('-')) return unknownCommand(first, program);
  const message = error.message.replace(/^error: /, '');
  const [, flag] = /^unknown option '(--?[^'=]+)/.exec(message) ?? [];
  if (flag !== undefined) return message + instead(flag, command ?? program, program);
  return error.code === 'commander.missingArgument' ? `${message} (see ${nameOf(command ?? program)} --help)` : message;
}

/** The command that `words` begin with, or the one in it that they name; undefined where they begin with none. */
export function commandOf(program: Command, words: readonly string[]): Command | undefined {
  const [first, ...others] = words;
  const command = program.commands.find((each) => each.name() === first);
  return command === undefined ? undefined : (commandOf(command, others) ?? command);
}

/** What is wrong with `word`, which is no command, and what was probably meant. */
export function unknownCommand(word: string, program: Command): string {
  const names = program
    .createHelp()
    .visibleCommands(program)
    .map((command) => command.name());
  const isFile = /\.\w+$/.test(word) || statSync(word, { throwIfNoEntry: false })?.isFile() === true;
  const meant = isFile ? ` (did you mean fkinv invert ${word}?)` : didYouMean(word, names);
  return `unknown command '${word}'${meant || ` (see ${nameOf(program)} --help)`}`;
}

/** What to write in place of an unknown `flag` of `command`. */
function instead(flag: string, command: Command, program: Command): string {
  const owner = program.commands.find((each) => command === program && flagsOf(each).includes(flag));
  if (owner !== undefined) return ` (it is one of ${nameOf(owner)}, and stands after it)`;
  return didYouMean(flag, flagsOf(command)) || ` (see ${nameOf(command)} --help)`;
}

function flagsOf(command: Command): string[] {
  const options = command.createHelp().visibleOptions(command);
  return options.flatMap(({ long }) => long ?? []);
}

function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}
