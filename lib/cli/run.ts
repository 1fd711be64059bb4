import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Command, CommanderError } from 'commander';
import { addBatchCommand } from './batch';
import { addCompleteCommand, answer } from './completion';
import { addDoctorCommand } from './doctor';
import { addHelpCommand, section, styleHelp } from './help';
import { addEnqueueCommand } from './enqueue';
import { addInvertCommand } from './invert';
import { addModelsCommand } from './models';
import { addProfileCommand } from './profile';
import { exitCodeOf, exitCodes, reportError } from './report';
import { faultOf } from './usage';
import { addWorkerCommand } from './worker';

function version(): string {
  const file = path.join(__dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

const explanation = [
  section('Examples:', ['fkinv invert picture.png', 'fkinv help invert']),
  section('Exit codes:', ['0 done, 1 an image or a model failed, 2 wrong usage, 130 interrupted']),
].join('\n');

/** Runs the command line `args` (without node and script) and resolves to its exit code. */
export async function run(args: string[]): Promise<number> {
  let code: number = exitCodes.done;
  const program = new Command('fkinv')
    .description('From a reference image to an edit-friendly prompt.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this, or the help of a command')
    .helpCommand(false) // help.ts has one that knows what a wrong word meant
    .enablePositionalOptions() // a flag is of the command that it stands behind
    .exitOverride()
    .showSuggestionAfterError(false) // usage.ts knows more
    .addHelpText('after', explanation);
  styleHelp(program);
  addInvertCommand(program, (outcome) => (code = outcome));
  addBatchCommand(program, (outcome) => (code = outcome));
  addEnqueueCommand(program, (outcome) => (code = outcome));
  addWorkerCommand(program, (outcome) => (code = outcome));
  addModelsCommand(program, (outcome) => (code = outcome));
  addDoctorCommand(program, (outcome) => (code = outcome));
  addProfileCommand(program, (outcome) => (code = outcome));
  addCompleteCommand(program);
  addHelpCommand(program);
  try {
    if (args[0] === 'complete' && args[1] === '--') answer(program, args.slice(2));
    else await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return endOf(error, program, args);
    reportError(error, args.includes('--verbose'));
    return exitCodeOf(error);
  }
}

/** The exit code of a command line that commander itself ended: it printed what was asked for, or there is a fault. */
function endOf(error: CommanderError, program: Command, args: string[]): number {
  if (error.exitCode === 0) return exitCodes.done;
  if (error.code !== 'commander.help') reportError(new Error(faultOf(error, program, args)), false);
  return exitCodes.usage;
}
