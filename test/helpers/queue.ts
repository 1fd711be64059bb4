// What the tests of fkinv enqueue and fkinv worker share: a Redis of a test's own, and workers.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { cli, root } from './fkinv';
import { freePort } from './free-port';
import { needs } from './needs';

export const quick = ['--particles', '2', '--steps', '3', '--length', '10'];
export const scenes = path.join(root, 'test', 'fixtures', 'scenes');

export const redis = needs(spawnSync('redis-server', ['--version']).status === 0, 'redis-server');

/** A Redis of a test's own: its process, and the flags of a queue on it. */
export interface TestRedis {
  port: number;
  flags: string[];
  queue: Queue;
  server: ChildProcess;
}

export async function startRedis(t: ExecutionContext): Promise<TestRedis> {
  const port = await freePort();
  const folder = await mkdtemp(path.join(tmpdir(), 'fkinv-redis-'));
  const server = spawn('redis-server', ['--port', `${port}`, '--save', '', '--dir', folder], { stdio: 'ignore' });
  await until(() => spawnSync('redis-cli', ['-p', `${port}`, 'ping']).status === 0);
  const queue = new Queue('photos', { connection: { host: '127.0.0.1', port, retryStrategy: () => null } });
  queue.on('error', () => undefined); // tests end their Redis
  t.teardown(async () => {
    if (isRunning(server)) await queue.close();
    await end(server, 'SIGKILL');
    await rm(folder, { recursive: true });
  });
  await queue.waitUntilReady();
  return { port, queue, server, flags: ['--redis', `redis://127.0.0.1:${port}`, '--queue', 'photos'] };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** Sends the signal, if the process has not ended, and waits for its end. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (!isRunning(child)) return;
  const closed = once(child, 'close');
  child.kill(signal);
  await closed;
}

/** A worker, and all that it has printed. */
export interface StartedWorker {
  child: ChildProcess;
  text: () => string;
}

export function startWorker(t: ExecutionContext, ...args: string[]): StartedWorker {
  return start(t, [cli, 'worker', '--threads', '1', ...args]);
}

/** A worker whose process is killed when it opens a file with `poison` in its name. */
export function startFragileWorker(t: ExecutionContext, ...args: string[]): StartedWorker {
  const poison = path.join(root, 'test', 'fixtures', 'process', 'poison.cjs');
  return start(t, ['--require', poison, cli, 'worker', '--threads', '1', ...args]);
}

function start(t: ExecutionContext, args: string[]): StartedWorker {
  const child = spawn(process.execPath, args, { env: { ...process.env, NO_COLOR: '1' } });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, text: () => text };
}

/** Has it finish what it has begun, and gives its exit code. */
export async function drain(child: ChildProcess): Promise<number | null> {
  await end(child, 'SIGTERM');
  return child.exitCode;
}

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await setTimeout(20);
}

export async function folder(t: ExecutionContext): Promise<string> {
  const at = await mkdtemp(path.join(tmpdir(), 'fkinv-queue-'));
  t.teardown(() => rm(at, { recursive: true, force: true }));
  return at;
}

/** The results in a folder, by the names of their images. */
export async function resultsIn(results: string): Promise<Map<string, Result>> {
  const names = (await readdir(results)).filter((name) => name.endsWith('.json'));
  const read = async (name: string): Promise<[string, Result]> => {
    const result = JSON.parse(await readFile(path.join(results, name), 'utf8')) as Result;
    return [path.basename(result.image), result];
  };
  return new Map(await Promise.all(names.map(read)));
}

export interface Result {
  image: string;
  prompt?: string;
  error?: { code: string; message: string };
  seed: number | string;
}
