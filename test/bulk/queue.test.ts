// fkinv enqueue and fkinv worker, on a Redis of the test's own.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, cp, mkdir, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { type FkinvError, Inverter } from 'fkinv-native';
import { resultNameOf } from '../../lib/bulk/job-results';
import { fileOfJob, rootsOf } from '../../lib/bulk/roots';
import { blocksUnder, makeWorkspace } from '../helpers/documents';
import { bells, cli, fkinv, fkinvEach, fkinvIn, type Outcome, quick, root, squids } from '../helpers/fkinv';
import {
  drain,
  end,
  folder,
  redis,
  resultsIn,
  startFragileWorker,
  startRedis,
  startWorker,
  until,
  type Result,
} from '../helpers/queue';

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
  t.is(await drain(child), 1, 'as jobs failed');
  t.regex(text(), /^warning: without --root, .*\ntakes jobs of photos on cpu\n/);
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

redis('a job that takes its worker down: it fails after its attempts, its neighbours are done', async (t) => {
  const { flags, queue } = await startRedis(t);
  const images = await folder(t);
  const results = path.join(images, 'results');
  for (const name of ['a.png', 'b.png', 'poison.png']) await copyFile(bells, path.join(images, name));
  const put = ['enqueue', images, ...flags, ...quick];
  t.is((await fkinv(...put, '--attempts', '1')).code, 0);

  const args = [...flags, '--root', images, '--results', results, '--lock', '1', '--concurrency', '3'];
  // The first death is in company, and counts for none of the three; the second is of the one job that ran alone.
  for (let death = 1; death <= 2; death++) {
    const { child, text } = startFragileWorker(t, ...args);
    await once(child, 'close');
    t.is(child.signalCode, 'SIGKILL', text());
  }
  const last = startFragileWorker(t, ...args);
  await until(async () => (await queue.getCompletedCount()) === 2 && (await queue.getFailedCount()) === 1);
  t.is(await drain(last.child), 1);
  t.regex(last.text(), /error: .*poison\.png: a worker ended without a word .* \(WORKER_DIED\)\n/);
  t.regex(last.text(), /\n\d done {2}1 failed\n$/);
  const found = await resultsIn(results);
  t.is(found.get('poison.png')?.error?.code, 'WORKER_DIED');
  t.regex(found.get('poison.png')?.error?.message ?? '', /it was process \d+ on .+, which began at \d{4}-/);
  t.is(found.get('a.png')?.error, undefined);
  t.is(found.get('b.png')?.error, undefined);

  const again = await fkinv(...put);
  t.is(again.stdout, '3 images in the queue photos, 3 of them were there before\n');
  t.is(again.stderr, 'warning: 1 image had failed and is left so: --retry-failed puts it back\n');
  const back = await fkinv('enqueue', '--retry-failed', ...flags);
  t.is(back.stdout, '1 image put back into the queue photos\n');
  const sound = startWorker(t, ...args);
  await until(async () => (await queue.getCompletedCount()) === 3);
  t.is(await drain(sound.child), 0);
  t.is((await resultsIn(results)).get('poison.png')?.error, undefined, 'its result is there now');
});

redis('results that cannot be written, and files that may not be read, are told and can be tried again', async (t) => {
  const { flags, queue } = await startRedis(t);
  const at = await folder(t);
  const [images, results] = [path.join(at, 'images'), path.join(at, 'results')];
  await mkdir(images);
  await copyFile(bells, path.join(images, 'bells.png'));
  const outside = [bells, '/dev/zero', path.join(images, '..', 'no-such.png')];
  for (const [i, image] of outside.entries()) {
    await queue.add('invert', { image, options: {} }, { jobId: `outside ${i}`, attempts: 3 });
  }
  const put = ['enqueue', images, ...flags, ...quick, '--attempts', '1'];
  t.is((await fkinv(...put)).code, 0);

  const worker = startWorker(t, ...flags, '--root', images, '--results', results);
  await until(async () => (await queue.getFailedCount()) >= 3);
  await until(async () => (await queue.getFailedCount()) + (await queue.getCompletedCount()) === 4);
  for (const [i, image] of outside.entries()) {
    const job = await queue.getJob(`outside ${i}`);
    t.is(job?.failedReason, `IMAGE_FORBIDDEN: ${image} is in no folder that this worker was given by --root`);
  }
  t.is(await queue.getCompletedCount(), 1);
  await rm(results, { recursive: true }); // as a disk that is full, or gone
  await copyFile(squids, path.join(images, 'squids.png'));
  t.is((await fkinv(...put)).stdout, '2 images in the queue photos, 1 of them was there before\n');
  await until(async () => (await queue.getFailedCount()) === 4);
  t.is(await drain(worker.child), 1);
  t.regex(worker.text(), /error: .*squids\.png: cannot write .* \(OUTPUT_FAILED\)\n/);
  t.regex(worker.text(), /\n1 done {2}4 failed\n$/);

  const again = await fkinv(...put, '--retry-failed');
  t.is(again.stdout, '2 images in the queue photos, 2 of them were there before, 1 had failed and is put back\n');
  t.deepEqual([await queue.getFailedCount(), await queue.getWaitingCount()], [3, 1]);
});

redis('told to end while Redis is away: it finishes what was begun, says what is open, and ends', async (t) => {
  const { flags, queue, server } = await startRedis(t);
  const results = path.join(await folder(t), 'results');
  t.is((await fkinv('enqueue', bells, ...flags, '--steps', '1000', '--particles', '40')).code, 0);
  const { child, text } = startWorker(t, ...flags, '--results', results);
  await until(async () => (await queue.getJobs('active')).some(({ progress }) => typeof progress === 'object'));
  await end(server, 'SIGKILL');
  t.is(await drain(child), 1, text());
  t.regex(text(), /0 done {2}0 failed\nwarning: Redis is away, ends without it: .* 1 again/);
  t.is((await resultsIn(results)).get('bells.png')?.error, undefined, 'its result is written');
});

test('files that jobs may name: regular ones, in the roots by their real path', async (t) => {
  const at = await realpath(await folder(t));
  const [inside, other, outside] = ['inside', 'other', 'outside'].map((name) => path.join(at, name)) as [
    string,
    string,
    string,
  ];
  for (const each of [inside, other, outside]) await mkdir(path.join(each, 'deep'), { recursive: true });
  for (const each of [inside, other, outside]) await writeFile(path.join(each, 'deep', 'a.png'), '');
  await writeFile(path.join(at, 'inside.png'), ''); // whose path begins as the root's does
  await writeFile(path.join(inside, '..a.png'), '');
  await symlink(path.join(outside, 'deep', 'a.png'), path.join(inside, 'out.png'));
  await symlink(outside, path.join(inside, 'out'));
  await symlink(path.join(inside, 'deep'), path.join(outside, 'in'));
  await symlink(inside, path.join(at, 'link'));
  await symlink('/dev/zero', path.join(inside, 'zero.png'));
  spawnSync('mkfifo', [path.join(inside, 'pipe.png')]);
  const roots = await rootsOf([path.join(at, 'link'), other]);
  const codeIn = (of: typeof roots | undefined, image: string): Promise<string> =>
    fileOfJob(path.resolve(at, image), of).catch((error: unknown) => (error as FkinvError).code);
  const codeOf = (image: string): Promise<string> => codeIn(roots, image);
  const a = path.join(inside, 'deep', 'a.png');
  t.is(await codeOf('inside/deep/a.png'), a);
  t.is(await codeOf('link/deep/a.png'), a);
  t.is(await codeOf('outside/in/a.png'), a, 'a link that leads in');
  t.is(await codeOf('outside/../inside/deep/../deep/a.png'), a);
  t.is(await codeOf('other/deep/a.png'), path.join(other, 'deep', 'a.png'));
  t.is(await codeOf('inside/..a.png'), path.join(inside, '..a.png'));
  for (const image of [
    'outside/deep/a.png',
    'inside/../outside/deep/a.png',
    'inside/out.png',
    'inside/out/deep/a.png',
    'link/out/deep/a.png',
    'inside.png',
    'outside/no-such.png',
    'inside/../no-such.png',
    '/dev/zero',
    '/etc/passwd',
    '/',
  ]) {
    t.is(await codeOf(image), 'IMAGE_FORBIDDEN', image);
  }
  t.is(await codeOf('inside/no-such.png'), 'IMAGE_NOT_FOUND');
  t.is(await codeOf('link/no-such.png'), 'IMAGE_NOT_FOUND');
  t.is(await codeOf('inside/zero.png'), 'IMAGE_FORBIDDEN');
  t.is(await codeOf('inside/deep'), 'IMAGE_INVALID', 'a folder');
  t.is(await codeOf('inside/pipe.png'), 'IMAGE_INVALID', 'a pipe');
  const relative = path.relative(process.cwd(), path.join(outside, 'deep', 'a.png'));
  await t.throwsAsync(fileOfJob(relative, roots), { code: 'IMAGE_FORBIDDEN' });
  t.is(await fileOfJob(path.relative(process.cwd(), a), roots), a, 'of the working folder');

  t.is(await codeIn(undefined, 'outside/deep/a.png'), path.join(outside, 'deep', 'a.png'), 'without roots');
  t.is(await codeIn(undefined, '/dev/zero'), 'IMAGE_INVALID');
  t.is(await codeIn(undefined, '/dev/no-such'), 'IMAGE_NOT_FOUND');
  for (const wrong of ['', a, path.join(at, 'no-such')]) {
    await t.throwsAsync(rootsOf([inside, wrong]), { code: 'INVALID_OPTION', message: /^--root / });
  }
});

test('no two ids have one file of results', (t) => {
  t.is(resultNameOf('368709f1071417bfcc0e82208490b245'), '368709f1071417bfcc0e82208490b245.json');
  t.is(resultNameOf('bad-option_1.2'), 'bad-option_1.2.json');
  const long = 'x'.repeat(300);
  const ids = [
    'a/b',
    'a_b',
    'a%2fb',
    'a%2Fb',
    'A',
    'a',
    'ä',
    'a\u0308',
    '..',
    '../b',
    '',
    `${long}1`,
    `${long}2`,
    '~',
    'a:b',
    'a*',
  ];
  const names = ids.map(resultNameOf);
  t.is(new Set(names.map((name) => name.toLowerCase())).size, ids.length);
  for (const name of names) {
    t.regex(name, /^[\w.%~-]{1,200}$/);
    t.is(path.basename(name), name);
  }
});

test('the address of Redis from the environment, which no message repeats', async (t) => {
  const wrong = await fkinvIn({ FKINV_REDIS: 'user:secret@host' }, 'enqueue', bells, '--queue', 'photos');
  t.is(wrong.code, 2);
  t.is(wrong.stderr, 'error: FKINV_REDIS: it must be an address such as redis://localhost:6379 (INVALID_OPTION)\n');
  const away = await fkinvIn({ FKINV_REDIS: 'redis://user:secret@127.0.0.1:1' }, 'worker', '--queue', 'photos');
  t.is(away.code, 1);
  t.is(away.stderr, 'error: Redis at redis://127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1 (REDIS_UNAVAILABLE)\n');
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
    [['worker', '--queue', 'photos'], /--redis <url> is not given, and FKINV_REDIS is not set/],
    [
      ['worker', '--redis', 'localhost:6379', '--queue', 'photos'],
      /--redis <url>.*an address such as redis:\/\/localhost/,
    ],
    [['worker', ...flags.slice(0, 3), 'a:b'], /--queue <name>.*without colons/],
    [['worker', ...flags, '--concurrency', '0'], /whole number from 1 to 1000/],
    [['worker', ...flags, '--lock', ''], /whole number from 1 to 3600/],
    [['enqueue', ...flags], /no image is named: give folders, .* or --retry-failed/],
    [['enqueue', 'no-such', ...flags], /no-such: there is no such file or folder/],
    [['enqueue', bells, ...flags, '--attempts', '101'], /whole number from 1 to 100/],
    [['enqueue', bells, ...flags, '--steps', '0'], /--steps <T>/],
    [['enqueue', '--retry-failed', ...flags, '--seed', '7'], /seed: .* with the options they had/],
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
