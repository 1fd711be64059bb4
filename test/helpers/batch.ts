// fkinv batch in a folder of scenes, as tests run it.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { cli, type Outcome, root } from './fkinv';

export const quick = ['--particles', '2', '--steps', '3', '--length', '10'];
export const scene = (i: number): string =>
  path.join(root, 'test', 'fixtures', 'scenes', `${String(i).padStart(3, '0')}.png`);

export interface Line {
  image: string;
  prompt?: string;
  error?: { code: string; message: string };
  seed: number | string;
  options: Record<string, unknown>;
  models: { dllm: string; clip: string };
  timings?: Record<string, number>;
}

/** A folder with `photos/a.png`, `photos/b/C.PNG` and so on: so many images, some of them in a folder of their own. */
export async function workspace(t: ExecutionContext, images = 6): Promise<string> {
  const at = await mkdtemp(path.join(tmpdir(), 'fkinv-batch-'));
  t.teardown(() => rm(at, { recursive: true, force: true }));
  await mkdir(path.join(at, 'photos', 'inner'), { recursive: true });
  for (let i = 0; i < images; i++) {
    const name = `${i % 3 === 2 ? 'inner/' : ''}${String(i).padStart(3, '0')}.${i % 2 === 0 ? 'png' : 'PNG'}`;
    await copyFile(scene(i), path.join(at, 'photos', name));
  }
  return at;
}

/** `fkinv batch …args` in `cwd`. */
export function start(cwd: string, ...args: string[]): ChildProcess {
  return spawn(process.execPath, [cli, 'batch', ...args], { cwd, env: { ...process.env, NO_COLOR: '1' } });
}

export async function batch(cwd: string, args: string[], stdin = ''): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { cwd, env: { ...process.env, NO_COLOR: '1' } };
    const child = execFile(process.execPath, [cli, 'batch', ...args], options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
    child.stdin?.on('error', () => undefined); // nobody read it
    child.stdin?.end(stdin);
  });
}

export async function linesOf(file: string): Promise<Line[]> {
  const text = await readFile(file, 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}
