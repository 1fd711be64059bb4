// fkinv enqueue and fkinv worker, on a Redis of the test's own.
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { Inverter } from 'fkinv-native';
import { blocksUnder, makeWorkspace } from './documents';
import { bells, cli, fkinv, fkinvEach, type Outcome, root, squids } from './fkinv';
import { freePort } from './free-port';
import { needs } from './needs';

const quick = ['--particles', '2', '--steps', '3', '--length', '10'];
const scenes = path.join(root, 'test', 'fixtures', 'scenes');

const redis = needs(spawnSync('redis-server', ['--version']).status === 0, 'redis-server');

/** A Redis of its own, and the flags of a queue on it. */
async function startRedis(t: ExecutionContext): Promise<{ port: number; flags: string[]; queue: Queue }> {
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
function startWorker(t: ExecutionContext, ...args: string[]): { child: ChildProcess; text: () => string } {
  const env = { ...process.env, NO_COLOR: '1' };
  const child = spawn(process.execPath, [cli, 'worker', '--threads', '1', ...args], { env });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, text: () => text };
}

/** Has it finish what it has begun, and gives its exit code. */
async function drain(child: ChildProcess): Promise<number | null> {
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  await closed;
  return child.exitCode;
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await setTimeout(20);
}

async function folder(t: ExecutionContext): Promise<string> {
  const at = await mkdtemp(path.join(tmpdir(), 'fkinv-queue-'));
  t.teardown(() => rm(at, { recursive: true, force: true }));
  return at;
}

interface Result {
  image: string;
  prompt?: string;
  error?: { code: string };
  seed: number | string;
}

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

redis('results in Redis, progress, what passes and is tried again, and what does not', async (t) => {
  const { flags, queue } = await startRedis(t);
  const at = await folder(t);
  const broken = path.join(at, 'broken.png');
  await writeFile(broken, 'no image');
  const missing = path.join(at, 'missing.png');
  const list = execFile(process.execPath, [
    cli,
    'enqueue',
    '-',
    ...flags,
    '--seed',
    `${2n ** 60n}`,
    '--steps',
    '300',
    '--attempts',
    '2',
    '--backoff',
    '1',
  ]);
  list.stdin?.end([bells, broken, missing].join('\n'));
  await once(list, 'close');
  await queue.add('invert', { image: bells, options: { steps: 0 } }, { jobId: 'bad-option', attempts: 5 });
  await queue.add('invert', { file: bells }, { jobId: 'bad-data', attempts: 5 });
  const jobs = await queue.getJobs();
  const jobOf = (image: string): string =>
    jobs.find((job) => (job.data as Result).image === image && job.id !== 'bad-option')?.id ?? '';

  const progress: unknown[] = [];
  const { child, text } = startWorker(t, ...flags);
  await until(async () => {
    const job = await queue.getJob(jobOf(bells));
    if (job !== undefined && typeof job.progress === 'object') progress.push(job.progress);
    return (await queue.getCompletedCount()) === 1 && (await queue.getFailedCount()) === 4;
  });
  const done = await queue.getJob(jobOf(bells));
  t.deepEqual(done?.progress, { step: 300, steps: 300 });
  t.true(
    progress.some((each) => (each as { step: number }).step < 300),
    'it was told while it went on',
  );
  const result = done?.returnvalue as Result;
  t.is(result.seed, String(2n ** 60n));
  await using inverter = await Inverter.load({ threads: 1 });
  t.is(result.prompt, (await inverter.invert(bells, { steps: 300, seed: 2n ** 60n })).prompt);
  const failed = async (id: string): Promise<[number | undefined, string | undefined]> => {
    const job = await queue.getJob(id);
    return [job?.attemptsMade, /^[A-Z_]+/.exec(job?.failedReason ?? '')?.[0]];
  };
  t.deepEqual(await failed(jobOf(broken)), [1, 'IMAGE_INVALID']);
  t.deepEqual(await failed(jobOf(missing)), [2, 'IMAGE_NOT_FOUND'], 'it may come');
  t.deepEqual(await failed('bad-option'), [1, 'INVALID_OPTION']);
  t.deepEqual(await failed('bad-data'), [1, 'INVALID_OPTION']);
  t.is(await drain(child), 0);
  t.regex(text(), /^takes jobs of photos on cpu\n/);
  t.regex(text(), /warning: .*missing\.png: .*\(IMAGE_NOT_FOUND\), attempt 1\n/);
  t.regex(text(), /error: .*broken\.png.*\(IMAGE_INVALID\)\n/);
  t.regex(text(), /\n1 done {2}4 failed\n$/);
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

redis('the commands of README.md', async (t) => {
  const { port, queue } = await startRedis(t);
  const [block] = blocksUnder('README.md', 'Many machines');
  const [install = '', enqueue = '', worker = ''] = block?.code.trim().split('\n') ?? [];
  t.is(install, 'npm install bullmq ioredis'); // they are there
  const at = makeWorkspace('queue');
  const command = (line: string): string =>
    line.replace('npx fkinv', `exec "${process.execPath}" "${cli}"`).replace('localhost:6379', `127.0.0.1:${port}`);
  const put = spawnSync('sh', ['-c', command(enqueue)], { cwd: at });
  t.is(put.stdout.toString(), '3 images in the queue photos\n');
  const child = spawn('sh', ['-c', command(worker)], { cwd: at, stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  await until(async () => (await queue.getCompletedCount()) === 3);
  t.is(await drain(child), 0);
  const files = await readdir(path.join(at, 'results'));
  const records = await Promise.all(
    files.map(async (name) => JSON.parse(await readFile(path.join(at, 'results', name), 'utf8')) as Result),
  );
  t.true(
    records.some(({ prompt }) => prompt === 'a flat vector illustration of two bells on a plain orange background'),
  );
});

test('no Redis, no address, no folder for the results', async (t) => {
  const flags = ['--redis', 'redis://user:secret@127.0.0.1:1', '--queue', 'photos'];
  for (const args of [
    ['worker', ...flags],
    ['enqueue', bells, ...flags],
  ]) {
    const { code, stderr } = await fkinv(...args);
    t.is(code, 1);
    t.is(stderr, 'error: Redis at redis://127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1 (REDIS_UNAVAILABLE)\n');
  }
  const wrong: [string[], RegExp][] = [
    [['worker', '--queue', 'photos'], /required option '--redis <url>' not specified/],
    [
      ['worker', '--redis', 'localhost:6379', '--queue', 'photos'],
      /--redis <url>.*an address such as redis:\/\/localhost/,
    ],
    [['worker', ...flags.slice(0, 3), 'a:b'], /--queue <name>.*without colons/],
    [['worker', ...flags, '--concurrency', '0'], /whole number from 1 to 1000/],
    [['worker', ...flags, '--lock', ''], /whole number from 1 to 3600/],
    [['enqueue', ...flags], /missing required argument 'folder'/],
    [['enqueue', 'no-such', ...flags], /no-such: there is no such file or folder/],
    [['enqueue', bells, ...flags, '--attempts', '101'], /whole number from 1 to 100/],
    [['enqueue', bells, ...flags, '--steps', '0'], /--steps <T>/],
  ];
  const outcomes = await fkinvEach(wrong.map(([args]) => args));
  for (const [i, [args, message]] of wrong.entries()) {
    const { code, stderr } = outcomes[i] ?? t.fail();
    t.is(code, 2, args.join(' '));
    t.regex(stderr, message);
  }
});

test('without BullMQ: an error that says what to install', async (t) => {
  const at = await folder(t);
  await cp(path.join(root, 'dist'), path.join(at, 'dist'), { recursive: true });
  await mkdir(path.join(at, 'node_modules'));
  for (const name of await readdir(path.join(root, 'node_modules'))) {
    if (name === 'bullmq' || name === 'ioredis') continue;
    await symlink(path.join(root, 'node_modules', name), path.join(at, 'node_modules', name));
  }
  for (const name of ['models', 'build', 'package.json']) await symlink(path.join(root, name), path.join(at, name));
  const outcome = await new Promise<Outcome>((resolve) => {
    const args = [path.join(at, 'dist', 'cli.js'), 'worker', '--redis', 'redis://localhost', '--queue', 'photos'];
    const child = execFile(process.execPath, args, (_, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
  t.is(outcome.code, 1);
  t.regex(
    outcome.stderr,
    /^error: fkinv worker and fkinv enqueue need BullMQ: npm install bullmq ioredis .*\(BULLMQ_NOT_FOUND\)\n$/,
  );
});
