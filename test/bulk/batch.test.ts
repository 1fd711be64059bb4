// fkinv batch: what it goes through, what it writes, what it goes on from, and what it is told when that cannot be.
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { Inverter } from 'fkinv-native';
import { checkInputs, imagesOf } from '../../lib/bulk/inputs';
import { Journal } from '../../lib/bulk/journal';
import { rewards } from '../../lib/sampling/rewards/list';
import type { ImageRecord, Provenance } from '../../lib/bulk/record';
import { bells, cli, fkinvEach, type Outcome, root, squids } from '../helpers/fkinv';
import { needs } from '../helpers/needs';

const quick = ['--particles', '2', '--steps', '3', '--length', '10'];
const scene = (i: number): string => path.join(root, 'test', 'fixtures', 'scenes', `${String(i).padStart(3, '0')}.png`);

interface Line {
  image: string;
  prompt?: string;
  error?: { code: string; message: string };
  seed: number | string;
  options: Record<string, unknown>;
  models: { dllm: string; clip: string };
  timings?: Record<string, number>;
}

/** A folder with `photos/a.png`, `photos/b/C.PNG` and so on: so many images, some of them in a folder of their own. */
async function workspace(t: ExecutionContext, images = 6): Promise<string> {
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
function start(cwd: string, ...args: string[]): ChildProcess {
  return spawn(process.execPath, [cli, 'batch', ...args], { cwd, env: { ...process.env, NO_COLOR: '1' } });
}

async function batch(cwd: string, args: string[], stdin = ''): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { cwd, env: { ...process.env, NO_COLOR: '1' } };
    const child = execFile(process.execPath, [cli, 'batch', ...args], options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
    child.stdin?.on('error', () => undefined); // nobody read it
    child.stdin?.end(stdin);
  });
}

async function linesOf(file: string): Promise<Line[]> {
  const text = await readFile(file, 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

test('a folder: every image in it, in a stable order, each with a record of its own', async (t) => {
  const at = await workspace(t);
  await writeFile(path.join(at, 'photos', 'notes.txt'), 'no image');
  await truncate(path.join(at, 'photos', '004.png'), 300);
  const { code, stdout, stderr } = await batch(at, ['photos', '--out', 'r.jsonl', '--seed', '7', ...quick]);
  t.is(code, 1);
  t.regex(stdout, /^5 done {2}0 skipped {2}1 failed \(1 IMAGE_INVALID\) {2}\d+\.\d+ images\/s {2}r\.jsonl\n$/);
  t.regex(stderr, /^error: photos\/004\.png .*\(IMAGE_INVALID\)\n$/);
  const lines = await linesOf(path.join(at, 'r.jsonl'));
  t.deepEqual(lines.map(({ image }) => image).sort(), [
    'photos/000.png',
    'photos/001.PNG',
    'photos/003.PNG',
    'photos/004.png',
    'photos/inner/002.png',
    'photos/inner/005.PNG',
  ]);
  await using inverter = await Inverter.load({ threads: 1 });
  const alone = await inverter.invert(scene(5), { particles: 2, steps: 3, length: 10, seed: 7 });
  for (const line of lines) {
    t.is(line.seed, 7);
    t.like(line.options, { particles: 2, steps: 3, length: 10, lambdaClip: 100, order: 'random', banned: [] });
    t.regex(line.models.dllm + line.models.clip, /^[0-9a-f]{128}$/);
    if (line.error !== undefined) t.deepEqual([line.image, line.error.code], ['photos/004.png', 'IMAGE_INVALID']);
    else t.deepEqual(Object.keys(line.timings ?? {}), ['total', 'images', 'forwards']);
    if (line.image === 'photos/inner/005.PNG') t.is(line.prompt, alone.prompt);
  }

  // The same again has nothing to do; what failed is done again when asked for; other options are another file's.
  const again = await batch(at, ['photos', '--out', 'r.jsonl', '--seed', '7', ...quick]);
  t.is(again.code, 0);
  t.regex(again.stdout, /^0 done {2}6 skipped {2}0 failed /);
  t.is(again.stderr, 'warning: 1 of r.jsonl failed before: --retry-failed does them again\n');
  await copyFile(scene(4), path.join(at, 'photos', '004.png'));
  const retried = await batch(at, ['photos', '--out', 'r.jsonl', '--seed', '7', '--retry-failed', ...quick]);
  t.is(retried.code, 0);
  t.regex(retried.stdout, /^1 done {2}5 skipped {2}0 failed /);
  t.is((await linesOf(path.join(at, 'r.jsonl'))).length, 6);
  t.false((await readdir(at)).some((name) => name.endsWith('.part')));
  await cp(path.join(root, 'models', 'clip'), path.join(at, 'clip'), { recursive: true });
  await appendFile(path.join(at, 'clip', 'config.json'), '\n');
  const others = [
    [['--seed', '8', ...quick], 'seed'],
    [['--seed', '7', ...quick, '--lambda-edit', '3'], 'options.lambdaEdit'],
    [['--seed', '7', ...quick, '--clip', 'clip'], 'models.clip'],
  ] as const;
  const refused = await fkinvEach(
    others.map(([flags]) => ['batch', 'photos', '--out', 'r.jsonl', ...flags]),
    at,
  );
  for (const [i, [, what]] of others.entries()) {
    const other = refused[i] ?? t.fail();
    t.is(other.code, 2, what);
    t.regex(other.stderr, new RegExp(`r\\.jsonl: line 1 was made with another ${what}: .*--out \\(INVALID_OPTION\\)`));
  }
});

test('inputs: folders, globs, files and stdin, in their order, links to files but not to folders', async (t) => {
  const at = await workspace(t);
  await symlink(bells, path.join(at, 'photos', 'link.png'));
  await symlink(path.join(at, 'photos'), path.join(at, 'photos', 'inner', 'round'));
  await writeFile(path.join(at, 'photos', 'b.Jpeg'), '');
  const found = async (inputs: string[], stdin = ''): Promise<string[]> => {
    const images: string[] = [];
    for await (const image of imagesOf(
      inputs.map((each) => (each === '-' ? each : path.join(at, each))),
      Readable.from([stdin]),
    )) {
      images.push(path.relative(at, image));
    }
    return images;
  };
  const all = ['000.png', '001.PNG', '003.PNG', '004.png', 'b.Jpeg', 'inner/002.png', 'inner/005.PNG', 'link.png'];
  t.deepEqual(
    await found(['photos']),
    all.map((name) => `photos/${name}`),
  );
  t.deepEqual(
    await found(['photos/**/*.png']),
    ['000.png', '004.png', 'inner/002.png', 'link.png'].map((name) => `photos/${name}`),
  );
  t.deepEqual(
    await found(['photos/*.{PNG,Jpeg}']),
    ['001.PNG', '003.PNG', 'b.Jpeg'].map((name) => `photos/${name}`),
  );
  t.deepEqual(await found(['photos/inner', 'photos/000.png']), [
    'photos/inner/002.png',
    'photos/inner/005.PNG',
    'photos/000.png',
  ]);
  t.deepEqual(await found(['-'], `${at}/a.png\r\n${at}//b.gif\n\n`), ['a.png', 'b.gif']);
  for (const inputs of [['no/such'], ['no/such/*.png'], ['-', '-']]) {
    await t.throwsAsync(checkInputs(inputs), { code: 'INVALID_OPTION' });
  }
});

test('a list on stdin, each of its files once; one that is not there is a failed image', async (t) => {
  const at = await workspace(t, 3);
  const list = 'photos/000.png\nphotos/missing.png\n./photos/000.png\nphotos/001.PNG\n';
  const { code, stdout } = await batch(at, ['-', '--out', 'r.jsonl', '--quiet', ...quick], list);
  t.is(code, 1);
  t.regex(stdout, /^2 done {2}1 skipped {2}1 failed \(1 IMAGE_NOT_FOUND\) /);
  t.deepEqual((await linesOf(path.join(at, 'r.jsonl'))).map(({ image }) => image).sort(), [
    'photos/000.png',
    'photos/001.PNG',
    'photos/missing.png',
  ]);
});

test('side-cars: beside each image, and what is there already is skipped, replaced or kept', async (t) => {
  const at = await workspace(t, 0);
  const photos = path.join(at, 'photos');
  const textOf = (name: string): Promise<string> => readFile(path.join(photos, name), 'utf8');
  await copyFile(bells, path.join(photos, 'a.png'));
  await copyFile(squids, path.join(photos, 'a.PNG'));
  await copyFile(squids, path.join(photos, 'b.png'));
  await writeFile(path.join(photos, 'b.txt'), 'of mine\n');
  const run = (out: string, ...flags: string[]): Promise<Outcome> =>
    batch(at, ['photos', '--out', out, '--sidecars', ...flags, ...quick]);
  const promptOf = async (out: string, image: string): Promise<string> =>
    (await linesOf(path.join(at, out))).find((line) => line.image === `photos/${image}`)?.prompt ?? '';

  const skipped = await run('1.jsonl');
  t.regex(skipped.stdout, /^2 done {2}1 skipped {2}0 failed /);
  t.is(await textOf('b.txt'), 'of mine\n');
  t.is(await textOf('a.txt'), `${await promptOf('1.jsonl', 'a.PNG')}\n`, 'of two of one name, the first by name');
  t.is(await textOf('a.png.txt'), `${await promptOf('1.jsonl', 'a.png')}\n`);
  // A crash between the record and its side-car.
  await rm(path.join(photos, 'a.txt'));
  t.regex((await run('1.jsonl')).stdout, /^0 done {2}3 skipped /);
  t.is(await textOf('a.txt'), `${await promptOf('1.jsonl', 'a.PNG')}\n`);

  const prompt = await promptOf('1.jsonl', 'a.PNG'); // b.png is the same image
  t.regex((await run('2.jsonl', '--existing', 'append')).stdout, /^3 done /);
  t.is(await textOf('b.txt'), `of mine, ${prompt}\n`);
  t.is(await textOf('a.txt'), `${prompt}\n`, 'it is there once');
  // In one process: prompts as before, each beside what is there already or in its place.
  const again = (out: string, existing: string): string[] => [
    ...['batch', 'photos', '--out', out, '--sidecars', '--existing', existing, ...quick],
  ];
  await fkinvEach([again('3.jsonl', 'append')], at);
  t.is(await textOf('b.txt'), `of mine, ${prompt}\n`);
  await fkinvEach([again('4.jsonl', 'prepend'), again('5.jsonl', 'prepend')], at);
  t.is(await textOf('b.txt'), `${prompt}, of mine, ${prompt}\n`);
  const [, wrong] = await fkinvEach(
    [again('6.jsonl', 'overwrite'), ['batch', 'photos', '--out', '7.jsonl', '--existing', 'append', ...quick]],
    at,
  );
  t.is(await textOf('b.txt'), `${prompt}\n`);
  t.is(wrong?.code, 2);
  t.regex(wrong?.stderr ?? '', /^error: --existing: is of --sidecars, which is not given \(INVALID_OPTION\)\n$/);
});

test('CSV follows the records, whatever was there', async (t) => {
  const at = await workspace(t, 3);
  const run = (): Promise<Outcome> => batch(at, ['photos', '--out', 'r.jsonl', '--csv', 'r.csv', ...quick]);
  await writeFile(path.join(at, 'photos', 'a, "b".png'), 'broken');
  await run();
  const csv = await readFile(path.join(at, 'r.csv'), 'utf8');
  const lines = csv.trimEnd().split('\n');
  const fields = rewards.map(({ field }) => field);
  t.is(lines[0], ['image,prompt', ...fields, 'reward,logProb,seed,warnings,error,message'].join(','));
  t.is(lines.length, 5);
  t.true(
    lines.some((line) => line.startsWith(`"photos/a, ""b"".png",${','.repeat(fields.length)},,,0,,IMAGE_INVALID,`)),
  );
  await writeFile(path.join(at, 'r.csv'), csv.slice(0, 120)); // half written
  await copyFile(scene(9), path.join(at, 'photos', 'new.png'));
  await run();
  const after = await readFile(path.join(at, 'r.csv'), 'utf8');
  t.true(after.startsWith(csv));
  t.is(after.trimEnd().split('\n').length, 6);
});

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

for (const [signals, name] of [
  [1, 'one interruption finishes what was begun'],
  [2, 'two end it at once'],
] as const) {
  test(`${name}; the same command does the rest`, async (t) => {
    const at = await workspace(t, 24);
    const file = path.join(at, 'r.jsonl');
    const args = ['photos', '--out', 'r.jsonl', '--particles', '2', '--steps', '20', '--max-batch', '4'];
    const child = start(at, ...args);
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()));
    while (((await stat(file).catch(() => undefined))?.size ?? 0) === 0) await setTimeout(5);
    child.kill('SIGINT');
    if (signals === 2) {
      while (!text.includes('finishes what was begun')) await setTimeout(1);
      child.kill('SIGTERM');
    }
    const [code] = (await once(child, 'close')) as [number];
    t.is(code, 130);
    t.regex(text, /(^|\n)warning: finishes what was begun; once more ends at once, and the same command goes on\n/);
    t.regex(text, /\ninterrupted: \d+ done {2}0 skipped {2}0 failed .*r\.jsonl\n$/);
    const done = (await linesOf(file)).length;
    t.true(done > 0 && done < 24, `${done}`);
    t.true(text.includes(`interrupted: ${done} done`), 'what it says is what is there');
    const rest = await batch(at, args);
    t.regex(rest.stdout, new RegExp(`^${24 - done} done {2}${done} skipped {2}0 failed `));
    t.is(new Set((await linesOf(file)).map(({ image }) => image)).size, 24);
  });
}

test('an interruption, and a failure, end a batch whose list on stdin has no end', async (t) => {
  const at = await workspace(t, 2);
  const file = path.join(at, 'r.jsonl');
  const child = start(at, '-', '--out', 'r.jsonl', ...quick);
  child.stdin?.write('photos/000.png\n');
  while (((await stat(file).catch(() => undefined))?.size ?? 0) === 0) await setTimeout(5);
  child.kill('SIGINT');
  t.deepEqual(await once(child, 'close'), [130, null]);
  t.is((await linesOf(file)).length, 1);
  const failing = start(at, '-', '--out', 'no/such/folder.jsonl', ...quick);
  t.deepEqual(await once(failing, 'close'), [1, null]);
});

test('progress: lines for programs, with a last one; nothing with --quiet', async (t) => {
  const at = await workspace(t, 3);
  await writeFile(path.join(at, 'photos', 'broken.png'), '');
  const json = await batch(at, ['photos', '--out', '1.jsonl', '--json-progress', ...quick]);
  const lines = json.stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { error?: { code: string } });
  t.deepEqual(
    { ...lines.at(-1), imagesPerSecond: 0 },
    { done: 3, failed: 1, skipped: 0, total: 4, imagesPerSecond: 0, secondsLeft: 0 },
  );
  t.like(
    lines.find(({ error }) => error !== undefined),
    { image: 'photos/broken.png', error: { code: 'IMAGE_INVALID', message: 'photos/broken.png is empty' } },
  );
  const quiet = await batch(at, ['photos', '--out', '2.jsonl', '--quiet', ...quick]);
  t.is(quiet.stderr, '');
});

test('what is wrong with the command line, before anything is written', async (t) => {
  const at = await workspace(t, 1);
  const wrong: [string[], RegExp, number?][] = [
    [['photos'], /required option '--out <file>' not specified/],
    [['--out', 'r.jsonl'], /missing required argument 'folder' \(see fkinv batch --help\)/],
    [['no-such', '--out', 'r.jsonl'], /no-such: there is no such file or folder/],
    [['photos', '--out', 'r.jsonl', '--particles', '9', '--max-batch', '8'], /\(BATCH_TOO_LARGE\)/],
    [['photos', '--out', 'r.jsonl', '--temperature', '0', '--order', 'margin'], /\(IDENTICAL_PARTICLES\)/],
    [['photos', '--out', 'r.jsonl', '--csv', './r.jsonl'], /^error: --csv: is the file of --out, and must be another/],
    [['photos', '--out', 'r.jsonl', '--existing', 'keep', '--sidecars'], /Allowed choices are skip, overwrite/],
    [
      ['photos', '--out', 'no/such/folder/r.jsonl'],
      /cannot write no\/such\/folder\/r\.jsonl: ENOENT.*\(OUTPUT_FAILED\)/,
      1,
    ],
  ];
  const outcomes = await fkinvEach(
    wrong.map(([args]) => ['batch', ...args]),
    at,
  );
  for (const [i, [args, message, code = 2]] of wrong.entries()) {
    const outcome = outcomes[i] ?? t.fail();
    t.is(outcome.code, code, args.join(' '));
    t.regex(outcome.stderr, message);
    t.is(outcome.stdout, '');
  }
  t.deepEqual(await readdir(at), ['photos']);
  await mkdir(path.join(at, 'empty'));
  const none = await batch(at, ['empty', '--out', 'r.jsonl']);
  t.is(none.code, 2);
  t.regex(none.stderr, /^error: empty: there is no image \(INVALID_OPTION\)\n$/);
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
