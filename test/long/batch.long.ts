// fkinv batch over hundreds and thousands of images: killed at any moment, and for as long as that.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { cli, root } from '../helpers/fkinv';

const quick = ['--particles', '2', '--steps', '4', '--length', '12'];

/** A folder of so many images: the scenes, again and again, by links. */
async function workspace(t: ExecutionContext, images: number): Promise<string> {
  const at = await mkdtemp(path.join(root, 'build', 'fkinv-batch-'));
  t.teardown(() => rm(at, { recursive: true, force: true }));
  const scenes = path.join(root, 'test', 'fixtures', 'scenes');
  const files = (await readdir(scenes)).filter((name) => name.endsWith('.png')).sort();
  for (let i = 0; i < images; i++) {
    const folder = path.join(at, 'photos', String(Math.floor(i / 1000)));
    if (i % 1000 === 0) await mkdir(folder, { recursive: true });
    await link(
      path.join(scenes, files[i % files.length] ?? ''),
      path.join(folder, `${String(i).padStart(5, '0')}.png`),
    );
  }
  return at;
}

/** Whole lines of a file, 0 where there is none. */
async function countOf(file: string): Promise<number> {
  return (await readFile(file, 'utf8').catch(() => '')).split('\n').length - 1;
}

/** What a seed decides, of each line of a file of results. */
async function essenceOf(file: string): Promise<string[]> {
  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
  return lines.map((line) => JSON.stringify({ ...(JSON.parse(line) as object), timings: undefined })).sort();
}

test('two hundred images, killed at fifty moments: exactly the records of an undisturbed run', async (t) => {
  const at = await workspace(t, 200);
  const args = (out: string): string[] => [
    cli,
    'batch',
    'photos',
    '--out',
    out,
    '--csv',
    `${out}.csv`,
    '--sidecars',
    ...quick,
    '--max-batch',
    '4',
  ];
  const run = (out: string): Promise<number | null> =>
    new Promise((resolve) => {
      const child = execFile(process.execPath, args(out), { cwd: at }, () => resolve(child.exitCode));
    });
  t.is(await run('whole.jsonl'), 0);
  const expected = await essenceOf(path.join(at, 'whole.jsonl'));
  t.is(expected.length, 200);
  const sidecars = (await readdir(path.join(at, 'photos', '0'))).filter((name) => name.endsWith('.txt'));
  const texts = await Promise.all(sidecars.map((name) => readFile(path.join(at, 'photos', '0', name), 'utf8')));
  for (const name of sidecars) await rm(path.join(at, 'photos', '0', name));

  const file = path.join(at, 'r.jsonl');
  /** Records after each kill: a run goes on from each. */
  const records: number[] = [];
  for (let kill = 0; kill < 50; kill++) {
    const child = spawn(process.execPath, args('r.jsonl'), { cwd: at, stdio: 'ignore' });
    const closed = once(child, 'close');
    // A few milliseconds after a record or two more, by which the last kill finds some to do on a fast machine and a slow
    // one; one in five some while after its start, which may be before any.
    const enough = (records.at(-1) ?? 0) + 1 + Math.floor(Math.random() * 2);
    const latest = kill % 5 === 0 ? performance.now() + Math.random() * 1500 : Infinity;
    while (child.exitCode === null && performance.now() < latest && (await countOf(file)) < enough) await setTimeout(2);
    await setTimeout(Math.random() * 8);
    t.true(child.kill('SIGKILL'));
    await closed;
    t.is(child.signalCode, 'SIGKILL', `the run after ${records.at(-1)} records was killed`);
    records.push(await countOf(file));
  }
  t.log(`records after each kill: ${records.join(' ')}`);
  t.deepEqual(
    records,
    records.toSorted((a, b) => a - b),
    'none is lost',
  );
  t.is(await run('r.jsonl'), 0);
  t.deepEqual(await essenceOf(file), expected);
  t.is((await readFile(`${file}.csv`, 'utf8')).trimEnd().split('\n').length, 201);
  t.deepEqual(await Promise.all(sidecars.map((name) => readFile(path.join(at, 'photos', '0', name), 'utf8'))), texts);
});

test('ten thousand images: memory stays flat', async (t) => {
  const at = await workspace(t, 10_000);
  const flags = ['--particles', '1', '--steps', '1', '--length', '4', '--quiet'];
  const child = spawn(process.execPath, [cli, 'batch', 'photos', '--out', 'r.jsonl', ...flags], {
    cwd: at,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let summary = '';
  child.stdout.on('data', (chunk: Buffer) => (summary += chunk.toString()));
  const closed = once(child, 'close');
  /** Megabytes resident, by images done. */
  const samples: [done: number, megabytes: number][] = [];
  while (child.exitCode === null) {
    await setTimeout(500);
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    const resident = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? NaN) / 1000;
    const done = await countOf(path.join(at, 'r.jsonl'));
    if (Number.isFinite(resident)) samples.push([done, resident]);
  }
  await closed;
  t.is(child.exitCode, 0);
  t.regex(summary, /^10000 done {2}0 skipped {2}0 failed /);
  const meanOf = (from: number, to: number): number => {
    const within = samples.filter(([done]) => done >= from && done < to).map(([, megabytes]) => megabytes);
    return within.reduce((sum, each) => sum + each, 0) / within.length;
  };
  const [early, late] = [meanOf(2000, 5000), meanOf(7000, 10_000)];
  t.log(
    `${summary.trim()}; MB resident: ${early.toFixed(0)} from 2000 to 5000, ${late.toFixed(0)} from 7000 on, most ${Math.max(...samples.map(([, mb]) => mb)).toFixed(0)}`,
  );
  t.true(late < early + 20, `${early} MB, later ${late} MB`);
});
