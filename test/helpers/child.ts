import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import path from 'node:path';

export const root = path.join(__dirname, '..', '..');

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end, at most ten minutes. */
export function run(file: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = {
      cwd: tmpdir(),
      env: { ...process.env, ...env },
      timeout: 600_000,
      killSignal: 'SIGKILL',
      maxBuffer: 2 ** 26,
    } as const;
    const child = execFile(file, args, options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr });
    });
  });
}

/** Runs a script of test/fixtures/process. */
export function runScript(
  script: string,
  args: string[],
  flags: string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  return run(process.execPath, [...flags, path.join(root, 'test', 'fixtures', 'process', script), ...args], env);
}
