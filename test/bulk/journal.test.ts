// The journal of fkinv batch: what it goes on from after a crash, a kill and a full disk, and what it is told to be none.
import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { Journal } from '../../lib/bulk/journal';
import type { ImageRecord, Provenance } from '../../lib/bulk/record';
import { cli, type Outcome } from '../helpers/fkinv';
import { needs } from '../helpers/needs';
import { quick, workspace, start, batch, linesOf } from '../helpers/batch';

/** The records of two scenes, and what they were made with. */
async function journalOf(
  t: ExecutionContext,
): Promise<{ file: string; whole: Buffer; provenance: Provenance; records: ImageRecord[] }> {
  const at = await workspace(t, 4);
  const file = path.join(at, 'r.jsonl');
  await batch(at, ['photos', '--out', 'r.jsonl', '--quiet', ...quick]);
  const records = (await linesOf(file)) as unknown as ImageRecord[];
  const [{ seed, options, models } = t.fail()] = records;
  return { file, whole: await readFile(file), provenance: { seed, options, models }, records };
}

test('whatever a crash leaves at the end of the journal: the rest is done again, and nothing twice', async (t) => {
  const { file, whole, provenance, records } = await journalOf(t);
  const ends = [...whole.keys()].filter((i) => whole[i] === 10).map((i) => i + 1);
  for (let cut = 0; cut < whole.length; cut += cut % 1000 < 40 ? 1 : 41) {
    await writeFile(file, whole.subarray(0, cut));
    if (cut % 3 === 0) await truncate(file, cut + 4096); // it has grown, and the bytes never came
    const journal = await Journal.open(file, provenance);
    const there = records.filter(({ image }) => journal.has(image));
    t.is(there.length, ends.filter((end) => end <= cut).length, `${cut}`);
    await journal.append(records.slice(there.length));
    await journal.close();
    if (!(await readFile(file)).equals(whole)) t.fail(`${cut}`);
  }
  // Of a group that was not on the disk as a whole, a page may be lost in the middle.
  const holed = Buffer.from(whole).fill(0, ends[0], (ends[0] ?? 0) + 100);
  await writeFile(file, holed);
  const journal = await Journal.open(file, provenance);
  t.deepEqual(
    records.map(({ image }) => journal.has(image)),
    [true, false, false, false],
  );
  await journal.close();
});

test('a file that is no journal is left as it is', async (t) => {
  const { file, whole, provenance } = await journalOf(t);
  const [line = ''] = whole.toString().split('\n');
  const files: [text: string, message: RegExp][] = [
    ['{"file":"a.png","text":"a cat"}\n', /line 1 is no record of fkinv batch/],
    [`${line}\n{"image":"b.png"}\n`, /line 2 is no record/],
    ['a.png\nb.png\n', /line 1 is no record/],
    [`${line.slice(0, 50)}\n${`${line}\n`.repeat(64)}`, /line 1 is damaged, and a crash of fkinv does not/],
  ];
  for (const [text, message] of files) {
    await writeFile(file, text);
    await t.throwsAsync(Journal.open(file, provenance), { code: 'INVALID_OPTION', message });
    t.is(await readFile(file, 'utf8'), text);
  }
  await t.throwsAsync(Journal.open(path.dirname(file), provenance), { code: 'OUTPUT_FAILED', message: /EISDIR/ });
  if (process.platform === 'linux') {
    await t.throwsAsync(Journal.open('/dev/null', provenance), { code: 'INVALID_OPTION', message: /no regular file/ });
  }
});

test('one process at a time has the journal; a killed one leaves it free', async (t) => {
  const at = await workspace(t, 4);
  const file = path.join(at, 'r.jsonl');
  const first = start(at, '-', '--out', 'r.jsonl', ...quick);
  first.stdin?.write('photos/000.png\n'); // and it waits for more
  while (((await stat(file).catch(() => undefined))?.size ?? 0) === 0) await setTimeout(5);
  const second = await batch(at, ['photos', '--out', 'r.jsonl', ...quick]);
  t.is(second.code, 1);
  t.regex(second.stderr, /^error: r\.jsonl: another process writes it: .*\(OUTPUT_FAILED\)\n$/);
  first.kill('SIGKILL');
  await once(first, 'close');
  const { code, stdout } = await batch(at, ['photos', '--out', 'r.jsonl', ...quick]);
  t.is(code, 0);
  t.regex(stdout, /^3 done {2}1 skipped {2}0 failed /);
  t.is(new Set((await linesOf(file)).map(({ image }) => image)).size, 4);
});

const hasNamespaces =
  process.platform === 'linux' && spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;

needs(hasNamespaces, 'user namespaces of Linux, with mounts')(
  'a full disk: an error that says so, whole records, and the rest when there is room again',
  async (t) => {
    const at = await workspace(t, 40);
    const command = (size: string): Promise<Outcome> => {
      const run = `"${process.execPath}" "${cli}" batch photos --out /mnt/r.jsonl --csv /mnt/r.csv --max-batch 4 ${quick.join(' ')}`;
      const script = `mount -t tmpfs -o size=${size} none /mnt && cp r.jsonl /mnt 2>/dev/null; ${run}; c=$?; cp /mnt/r.jsonl . ; exit $c`;
      return new Promise((resolve) => {
        const options = { cwd: at, env: { ...process.env, NO_COLOR: '1' } };
        const child = execFile('unshare', ['-rm', 'sh', '-c', script], options, (_, stdout, stderr) => {
          resolve({ code: child.exitCode, stdout, stderr });
        });
      });
    };
    const full = await command('20k');
    t.is(full.code, 1);
    t.regex(full.stderr, /error: cannot write \/mnt\/r\.(jsonl|csv): ENOSPC: .*\(OUTPUT_FAILED\)/);
    const before = await linesOf(path.join(at, 'r.jsonl'));
    t.true(before.length > 0 && before.length < 40, `${before.length}`);
    const rest = await command('1m');
    t.is(rest.code, 0, rest.stderr);
    t.regex(rest.stdout, new RegExp(`^${40 - before.length} done {2}${before.length} skipped {2}0 failed `));
    t.is(new Set((await linesOf(path.join(at, 'r.jsonl'))).map(({ image }) => image)).size, 40);
  },
);

test('any kinds of bytes behind the records are cut off or refused, never taken for records', async (t) => {
  const { file, whole, provenance, records } = await journalOf(t);
  const tail = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.json(),
    fc.constantFrom('{"image":"x', '{"im', '\0\0\0', '{', '\n'),
  );
  await fc.assert(
    fc.asyncProperty(tail, async (text) => {
      const given = Buffer.concat([whole, Buffer.from(text)]);
      await writeFile(file, given);
      try {
        const journal = await Journal.open(file, provenance);
        t.true(records.every(({ image }) => journal.has(image)));
        await journal.close();
        t.deepEqual(await readFile(file), whole);
      } catch (error) {
        t.is((error as { code: string }).code, 'INVALID_OPTION', String(error));
        t.deepEqual(await readFile(file), given);
      }
    }),
    { numRuns: 200 },
  );
});
