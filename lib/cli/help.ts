import type { Command } from 'commander';
import { coloursOf, helpColours } from './colours';
import { commandOf, unknownCommand } from './usage';

/** Columns of a help text: the terminal's, but no lines too long to read. */
function widthOf(stream: NodeJS.WriteStream): number {
  return Math.min(stream.isTTY ? stream.columns : 80, 100);
}

/** Gives `program`, and the commands added to it later, the look of their help texts. */
export function styleHelp(program: Command): void {
  const { bold, cyan, dim } = helpColours;
  const { stdout, stderr } = process;
  program
    .configureOutput({
      getOutHasColors: () => coloursOf(stdout).isColorSupported,
      getErrHasColors: () => coloursOf(stderr).isColorSupported,
      getOutHelpWidth: () => widthOf(stdout),
      getErrHelpWidth: () => widthOf(stderr),
      outputError: () => undefined, // run.ts reports it, as every other error
    })
    .configureHelp({
      styleTitle: bold,
      styleCommandText: cyan,
      styleSubcommandText: cyan,
      styleOptionTerm: cyan,
      styleArgumentText: dim,
      optionDescription: ({ description }) => description, // which has choices and default in it
    });
}

/** Adds `fkinv help` to `program`. */
export function addHelpCommand(program: Command): void {
  program
    .command('help')
    .description('Print the help of a command.')
    .argument('[command...]')
    .action((names: string[] = []) => {
      const command = names.length === 0 ? program : commandOf(program, names);
      if (command === undefined) program.error(unknownCommand(names[0] ?? '', program));
      command.outputHelp();
    });
}

/** A list under a heading, for the end of a help text. */
export function section(heading: string, lines: string[]): string {
  return `\n${helpColours.bold(heading)}\n${lines.map((line) => `  ${line}`).join('\n')}`;
}
