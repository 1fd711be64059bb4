// fkinv worker, killed, drained and without its Redis.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { Inverter } from 'fkinv-native';
import { bells, fkinv, squids } from '../helpers/fkinv';
import { freePort } from '../helpers/free-port';
import { drain, folder, quick, redis, scenes, startRedis, startWorker, until, type Result } from '../helpers/queue';

redis('two workers and one that is killed: every job is done, and has one result', async (t) => {
  const { flags, queue } = await startRedis(t);
  const results = path.join(await folder(t), 'results');
  const put = await fkinv('enqueue', scenes, ...flags, '--seed', '3', ...quick);
  t.deepEqual([put.code, put.stderr], [0, '']);
  const count = (await readdir(scenes)).filter((name) => name.endsWith('.png')).length;
  t.is(put.stdout, `${count} images in the queue photos\n`);
  t.is((await fkinv('enqueue', scenes, ...flags, '--seed', '3', ...quick)).code, 0, 'the same again adds nothing');
  t.is(await queue.getWaitingCount(), count);

  const start = (): ReturnType<typeof startWorker> => startWorker(t, ...flags, '--results', results, '--lock', '1');
  const [first, second, killed] = [start(), start(), start()];
  await until(async () => (await queue.getActiveCount()) > 0 && (await queue.getCompletedCount()) > 5);
  killed.child.kill('SIGKILL');
  await until(async () => (await queue.getCompletedCount()) === count);
  t.is(await queue.getFailedCount(), 0);
  const codes = await Promise.all([drain(first.child), drain(second.child)]);
  t.deepEqual(codes, [0, 0], first.text() + second.text());
  const files = await readdir(results);
  t.is(files.filter((name) => name.endsWith('.json')).length, count);
  const records = await Promise.all(
    files
      .filter((name) => name.endsWith('.json'))
      .map(async (name) => JSON.parse(await readFile(path.join(results, name), 'utf8')) as Result),
  );
  t.is(new Set(records.map(({ image }) => image)).size, count);
  await using inverter = await Inverter.load({ threads: 1 });
  for (const { image, prompt, seed } of records.slice(0, 5)) {
    t.is(seed, 3);
    t.is(prompt, (await inverter.invert(image, { particles: 2, steps: 3, length: 10, seed: 3 })).prompt);
  }
});

redis('SIGTERM: what was begun is finished, the rest waits for others; twice ends at once', async (t) => {
  const { flags, queue } = await startRedis(t);
  t.is((await fkinv('enqueue', scenes, ...flags, '--steps', '300', '--particles', '2')).code, 0);
  const total = await queue.getWaitingCount();
  const first = startWorker(t, ...flags, '--concurrency', '2');
  await until(async () => (await queue.getActiveCount()) === 2);
  t.is(await drain(first.child), 0);
  const done = await queue.getCompletedCount();
  t.true(done >= 2 && done < total);
  t.is(await queue.getActiveCount(), 0, 'none is left half way');
  t.is(await queue.getWaitingCount(), total - done);
  t.regex(
    first.text(),
    new RegExp(`warning: finishes what was begun; once more ends at once\\n(.*\\n)*${done} done  0 failed\\n$`),
  );

  const second = startWorker(t, ...flags, '--concurrency', '2');
  await until(async () => (await queue.getActiveCount()) === 2);
  const closed = once(second.child, 'close');
  second.child.kill('SIGINT');
  await until(() => second.text().includes('finishes what was begun'));
  second.child.kill('SIGINT');
  await closed;
  t.is(second.child.exitCode, 130);
  t.is(await queue.getActiveCount(), 2, 'their locks end, and another takes them');
});

redis('a worker outlives its Redis', async (t) => {
  const port = await freePort();
  const at = await folder(t);
  const server = (): ChildProcess =>
    spawn('redis-server', ['--port', `${port}`, '--appendonly', 'yes', '--dir', at], { stdio: 'ignore' });
  const flags = ['--redis', `redis://127.0.0.1:${port}`, '--queue', 'photos'];
  const put = async (image: string): Promise<void> =>
    until(async () => (await fkinv('enqueue', image, ...flags, ...quick)).code === 0);
  const before = server();
  await put(bells);
  const results = path.join(at, 'results');
  const { child, text } = startWorker(t, ...flags, '--results', results);
  const count = async (): Promise<number> =>
    (await readdir(results).catch(() => [])).filter((name) => name.endsWith('.json')).length;
  await until(async () => (await count()) === 1);
  const down = once(before, 'close');
  before.kill('SIGKILL');
  await down;
  await until(() => text().includes('warning: Redis: '));
  const after = server();
  t.teardown(async () => {
    const closed = once(after, 'close');
    after.kill('SIGKILL');
    await closed;
  });
  await put(squids);
  await until(async () => (await count()) === 2);
  t.is(await drain(child), 0);
});
