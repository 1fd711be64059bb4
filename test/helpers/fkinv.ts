// The command as a shell runs it, for tests.
import { execFile } from 'node:child_process';
import path from 'node:path';

export const root = path.join(__dirname, '..', '..');
export const cli = path.join(root, 'dist', 'cli.js');
export const bells = path.join(root, 'examples', 'bells.png');
export const squids = path.join(root, 'examples', 'squids.png');
/** Flags of an inversion that is soon done. */
export const quick = ['--particles', '2', '--steps', '3'];

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** What a test runner or a CI sets for its own colours is not for the command. */
const environment = { ...process.env };
delete environment['NO_COLOR'];
delete environment['FORCE_COLOR'];

/** Node with `args`, in the package's folder. */
export function node(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const options = { cwd: root, maxBuffer: 2 ** 26, env: { ...environment, ...env } };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

export function fkinvIn(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Outcome> {
  return node([cli, ...args], env);
}

export function fkinv(...args: string[]): Promise<Outcome> {
  return fkinvIn({}, ...args);
}

/**
 * What each command line comes to, one after the other in one process: to start one takes longer than most command lines
 * that are refused. In `cwd`, without colours.
 */
export function fkinvEach(lines: string[][], cwd = root): Promise<Outcome[]> {
  const script = path.join(__dirname, '..', 'fixtures', 'process', 'each.cjs');
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [script], { cwd, env: environment }, (error, stdout, stderr) => {
      if (error === null) resolve(JSON.parse(stdout) as Outcome[]);
      else reject(new Error(stderr, { cause: error }));
    });
    child.stdin?.end(JSON.stringify(lines));
  });
}
