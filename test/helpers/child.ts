import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ExecutionContext } from 'ava';

export const root = path.join(__dirname, '..', '..');

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end, at most twenty minutes: in the long tests others take the processor too. */
export function run(file: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = {
      cwd: tmpdir(),
      env: { ...process.env, ...env },
      timeout: 1_200_000,
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

/** Runs a program that must end with 0, and logs what it prints and how long it takes. */
export async function passes(
  t: ExecutionContext,
  file: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const start = performance.now();
  const { code, signal, stdout, stderr } = await run(file, args, env);
  for (const line of stdout.trim().split('\n')) if (line !== '') t.log(line);
  t.log(`${path.basename(file)} ${args[0] ?? ''}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
  t.deepEqual({ code, signal }, { code: 0, signal: null }, stderr);
  return stdout;
}
