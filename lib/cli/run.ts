import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Command, CommanderError } from 'commander';
import { addDoctorCommand } from './doctor';
import { addInvertCommand } from './invert';
import { addModelsCommand } from './models';
import { exitCodeOf, exitCodes, reportError } from './report';

function version(): string {
  const file = path.join(__dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Runs the command line `args` (without node and script) and resolves to its exit code. */
export async function run(args: string[]): Promise<number> {
  let code: number = exitCodes.done;
  const program = new Command('fkinv')
    .description('From a reference image to an edit-friendly prompt.')
    .version(version())
    .exitOverride()
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 an image or a model failed, 2 wrong usage, 130 interrupted.\n' +
        'Example: fkinv invert picture.png --particles 16 --seed 7',
    );
  addInvertCommand(program, (outcome) => (code = outcome));
  addModelsCommand(program, (outcome) => (code = outcome));
  addDoctorCommand(program, (outcome) => (code = outcome));
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    reportError(error, args.includes('--verbose'));
    return exitCodeOf(error);
  }
}
