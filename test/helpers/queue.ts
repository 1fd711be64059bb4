// What the tests of fkinv enqueue and fkinv worker share: a Redis of a test's own, and workers.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
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

/** A Redis of its own, and the flags of a queue on it. */
export async function startRedis(t: ExecutionContext): Promise<{ port: number; flags: string[]; queue: Queue }> {
  const port = await freePort();
  const folder = await mkdtemp(path.join(tmpdir(), 'fkinv-redis-'));
  const server = spawn('redis-server', ['--port', `${port}`, '--save', '', '--dir', folder], { stdio: 'ignore' });
  await until(() => spawnSync('redis-cli', ['-p', `${port}`, 'ping']).status === 0);
  const queue = new Queue('photos', { connection: { host: '127.0.0.1', port } });
  t.teardown(async () => {
    await queue.close();
    server.kill();
    await once(server, 'close');
    await rm(folder, { recursive: true });
  });
  await queue.waitUntilReady();
  return { port, queue, flags: ['--redis', `redis://127.0.0.1:${port}`, '--queue', 'photos'] };
}

/** A worker; `said` resolves once it has said so. */
export function startWorker(t: ExecutionContext, ...args: string[]): { child: ChildProcess; text: () => string } {
  const env = { ...process.env, NO_COLOR: '1' };
  const child = spawn(process.execPath, [cli, 'worker', '--threads', '1', ...args], { env });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, text: () => text };
}

/** Has it finish what it has begun, and gives its exit code. */
export async function drain(child: ChildProcess): Promise<number | null> {
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  await closed;
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

export interface Result {
  image: string;
  prompt?: string;
  error?: { code: string };
  seed: number | string;
}
