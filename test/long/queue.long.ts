// fkinv worker, killed, drained and without its Redis.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readdir, readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import test from 'ava';
import { Inverter } from 'fkinv-native';
import { bells, fkinv, squids } from '../helpers/fkinv';
import { freePort } from '../helpers/free-port';
import {
  drain,
  end,
  folder,
  quick,
  redis,
  resultsIn,
  scenes,
  startFragileWorker,
  startRedis,
  startWorker,
  until,
  type Result,
} from '../helpers/queue';

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
  t.is(await queue.getActiveCount(), 0, 'they are given back');
  t.is((await queue.getWaitingCount()) + (await queue.getCompletedCount()), total);
});

redis('three workers that are started again and again, and two jobs that end them: only these two fail', async (t) => {
  const { flags, queue } = await startRedis(t);
  const images = await folder(t);
  const names = (await readdir(scenes)).filter((name) => name.endsWith('.png')).slice(0, 40);
  for (const name of names) await copyFile(path.join(scenes, name), path.join(images, name));
  const poison = ['a-poison.png', 'z-poison.png'];
  for (const name of poison) await copyFile(bells, path.join(images, name));
  const put = await fkinv('enqueue', images, ...flags, ...quick, '--attempts', '2');
  t.is(put.stdout, '42 images in the queue photos\n');

  const results = path.join(images, 'results');
  let deaths = 0;
  const count = async (): Promise<number> => (await queue.getFailedCount()) + (await queue.getCompletedCount());
  const isOver = async (): Promise<boolean> => (await count()) === 42;
  const supervise = async (): Promise<void> => {
    while (!(await isOver())) {
      const { child } = startFragileWorker(t, ...flags, '--root', images, '--results', results, '--lock', '1');
      const closed = once(child, 'close');
      await Promise.race([closed, until(isOver)]);
      await end(child, 'SIGTERM');
      if (child.signalCode === 'SIGKILL') deaths++;
    }
  };
  await Promise.all([supervise(), supervise(), supervise()]);
  t.is(await queue.getFailedCount(), 2);
  const found = await resultsIn(results);
  for (const name of names) t.is(found.get(name)?.error, undefined, name);
  for (const name of poison) t.is(found.get(name)?.error?.code, 'WORKER_DIED', name);
  // Each ends a worker twice alone, and before that once in company, unless it shared that with the other.
  t.true(deaths >= 5 && deaths <= 6, `${deaths} workers died`);
});

redis('a worker of one job at a time: the first death counts already', async (t) => {
  const { flags, queue } = await startRedis(t);
  const images = await folder(t);
  await copyFile(bells, path.join(images, 'poison.png'));
  t.is((await fkinv('enqueue', images, ...flags, ...quick, '--attempts', '1')).code, 0);
  const args = [...flags, '--lock', '1', '--concurrency', '1'];
  await once(startFragileWorker(t, ...args).child, 'close');
  const { child } = startFragileWorker(t, ...args);
  await until(async () => (await queue.getFailedCount()) === 1);
  t.is(await drain(child), 1);
});

redis('told to end while Redis is away and nothing was begun: it ends well', async (t) => {
  const { flags, server } = await startRedis(t);
  const { child, text } = startWorker(t, ...flags);
  await until(() => text().includes('takes jobs'));
  await end(server, 'SIGKILL');
  t.is(await drain(child), 0);
  t.regex(text(), /0 done {2}0 failed\nwarning: Redis is away, ends without it: no job is open\n$/);
});

test('a Redis that takes connections and answers nothing', async (t) => {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const flags = ['--redis', `redis://127.0.0.1:${port}`, '--queue', 'photos'];
  const outcomes = await Promise.all([
    fkinv('enqueue', bells, ...flags),
    fkinv('worker', '--root', 'examples', ...flags),
  ]);
  server.close();
  for (const { code, stderr } of outcomes) {
    t.is(code, 1);
    t.is(
      stderr,
      `warning: Redis at redis://127.0.0.1:${port} does not answer, still waiting\n` +
        `error: Redis at redis://127.0.0.1:${port}: no answer for 10 seconds (REDIS_UNAVAILABLE)\n`,
    );
  }
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
