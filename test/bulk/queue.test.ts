// fkinv enqueue and fkinv worker, on a Redis of the test's own.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { Inverter } from 'fkinv-native';
import { blocksUnder, makeWorkspace } from '../helpers/documents';
import { bells, cli, fkinv, fkinvEach, type Outcome, root } from '../helpers/fkinv';
import { drain, folder, redis, startRedis, startWorker, until, type Result } from '../helpers/queue';

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

redis('the commands of docs/queue.md', async (t) => {
  const { port, queue } = await startRedis(t);
  const [block] = blocksUnder('docs/queue.md', 'Many machines');
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
