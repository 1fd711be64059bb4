// What fkinv batch writes beside its journal: side-cars, tables, records on stdout; and what it never replaces.
import { spawnSync } from 'node:child_process';
import {
  chmod,
  chown,
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { rewards } from '../../lib/sampling/rewards/list';
import { bells, fkinvEach, type Outcome, squids } from '../helpers/fkinv';
import { quick, scene, workspace, batch, linesOf, type Line } from '../helpers/batch';

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

test('side-cars: each image has its own, on disks that tell no case apart too', async (t) => {
  const at = await workspace(t, 0);
  const names = ['Cat.png', 'cat.jpg', 'cat.png', 'cat.png.png', 'cat.png.2.png', 'dog.png', 'DOG.gif'];
  await Promise.all(names.map((name, i) => copyFile(scene(i), path.join(at, 'photos', name))));
  await batch(at, ['photos', '--out', 'r.jsonl', '--sidecars', '--quiet', ...quick]);
  const sidecars = (await readdir(path.join(at, 'photos'))).filter((name) => name.endsWith('.txt'));
  t.is(new Set(sidecars.map((name) => name.toLowerCase())).size, names.length);
  const expected: Record<string, string> = {
    'Cat.png': 'Cat.txt',
    'cat.jpg': 'cat.jpg.txt',
    'cat.png': 'cat.png.3.txt',
    'cat.png.2.png': 'cat.png.2.txt',
    'cat.png.png': 'cat.png.txt',
    'DOG.gif': 'DOG.txt',
    'dog.png': 'dog.png.txt',
  };
  for (const { image, prompt } of await linesOf(path.join(at, 'r.jsonl'))) {
    const sidecar = expected[path.basename(image)] ?? t.fail();
    t.is(await readFile(path.join(at, 'photos', sidecar), 'utf8'), `${prompt}\n`, image);
  }
});

test('CSV follows the records, whatever was there', async (t) => {
  const at = await workspace(t, 3);
  const run = (): Promise<Outcome> => batch(at, ['photos', '--out', 'r.jsonl', '--csv', 'r.csv', ...quick]);
  await writeFile(path.join(at, 'photos', 'a, "b".png'), 'broken');
  await run();
  const csv = await readFile(path.join(at, 'r.csv'), 'utf8');
  const lines = csv.trimEnd().split('\n');
  const fields = rewards.map(({ field }) => field);
  t.is(lines[0], ['image,prompt', ...fields, 'reward,logProb,hints,seed,warnings,error,message'].join(','));
  t.is(lines.length, 5);
  t.true(
    lines.some((line) => line.startsWith(`"photos/a, ""b"".png",${','.repeat(fields.length)},,,,0,,IMAGE_INVALID,`)),
  );
  await writeFile(path.join(at, 'r.csv'), csv.slice(0, 120)); // half written
  await copyFile(scene(9), path.join(at, 'photos', 'new.png'));
  await run();
  const after = await readFile(path.join(at, 'r.csv'), 'utf8');
  t.true(after.startsWith(csv));
  t.is(after.trimEnd().split('\n').length, 6);
});

test('CSV: no cell is a formula to a spreadsheet; a byte order mark where it is asked for', async (t) => {
  const at = await workspace(t, 0);
  const names = ['=1+1.png', '+1.png', '-1.png', '@x.png'];
  for (const name of names) await copyFile(scene(0), path.join(at, name));
  const list = names.join('\n');
  await batch(at, ['-', '--out', 'r.jsonl', '--csv', 'r.csv', '--csv-bom', '--quiet', ...quick], list);
  const csv = await readFile(path.join(at, 'r.csv'), 'utf8');
  t.true(csv.startsWith('\uFEFFimage,prompt,'));
  const cells = csv.trimEnd().split(/[\n,]/);
  for (const name of names) t.true(cells.includes(`'${name}`), name);
  t.deepEqual(
    cells.filter((cell) => /^"?[=+@]/.test(cell)),
    [],
  );
  t.true(
    cells.filter((cell) => cell.startsWith('-')).every((cell) => Number.isFinite(Number(cell))),
    'numbers stay',
  );
  t.true(cells.some((cell) => cell.startsWith('-')));
  // What has the mark is known again, and goes on with or without it.
  const again = ['-', '--out', 'r.jsonl', '--csv', 'r.csv', '--quiet', ...quick];
  t.is((await batch(at, again, `${list}\n`)).code, 0);
  t.is(await readFile(path.join(at, 'r.csv'), 'utf8'), csv.slice(1));
});

test('--out - writes the records to stdout, and nothing else there', async (t) => {
  const at = await workspace(t, 3);
  await writeFile(path.join(at, 'photos', 'broken.png'), '');
  const run = ['photos', '--out', '-', '--csv', 'r.csv', '--sidecars', ...quick];
  const { code, stdout, stderr } = await batch(at, run);
  t.is(code, 1);
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  t.deepEqual(lines.map(({ image }) => image).sort(), [
    'photos/000.png',
    'photos/001.PNG',
    'photos/broken.png',
    'photos/inner/002.png',
  ]);
  t.regex(stderr, /\n3 done {2}0 skipped {2}1 failed \(1 IMAGE_INVALID\) {2}[\d.]+ images\/s {2}stdout\n$/);
  t.is((await readFile(path.join(at, 'r.csv'), 'utf8')).trimEnd().split('\n').length, 5);
  const other = ['photos', '--out', '-', ...quick];
  const json = await batch(at, [...other, '--json-progress']);
  t.is(json.stdout.trimEnd().split('\n').length, 4);
  t.notThrows(() =>
    json.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  );
  const [retried, table] = await fkinvEach(
    [
      ['batch', ...other, '--retry-failed'],
      ['batch', 'photos', '--out', 'r.jsonl', '--csv', '-', ...quick],
    ],
    at,
  );
  t.is(retried?.code, 2);
  t.regex(retried?.stderr ?? '', /--retry-failed: is of a file of results, and --out is stdout/);
  t.is(table?.code, 2);
  t.regex(table?.stderr ?? '', /^error: - is stdout for --out alone: give a file; \.\/- is one of that name/);
  t.false((await readdir(at)).includes('-'));
});

test('nothing is replaced that fkinv did not make, by whatever flag; links, modes and owners stay', async (t) => {
  const at = await workspace(t, 1);
  const inAt = (name: string): string => path.join(at, name);
  await rename(inAt('photos/000.png'), inAt('photos/cat.png'));
  const photo = await readFile(inAt('photos/cat.png'));
  await writeFile(inAt('mine.csv'), 'image,text\n');
  await writeFile(inAt('r.csv.part'), 'of mine');
  await symlink('r.jsonl', inAt('link.csv'));
  await mkdir(inAt('pipes'));
  await copyFile(bells, inAt('pipes/cat.png'));
  const hasPipe = spawnSync('mkfifo', [inAt('pipes/cat.txt')]).status === 0;
  const run = (...flags: string[]): string[] => ['batch', 'photos', ...quick, ...flags];
  const refusals: [string[], RegExp][] = [
    [
      run('--out', 'r.jsonl', '--csv', 'photos/cat.png'),
      /photos\/cat\.png is no table of fkinv batch: give another --csv/,
    ],
    [run('--out', 'r.jsonl', '--csv', 'mine.csv'), /mine\.csv is no table of fkinv batch/],
    [run('--out', 'r.jsonl', '--csv', 'link.csv'), /link\.csv is the file of r\.jsonl, which is being written/],
    [run('--out', 'photos/cat.png'), /photos\/cat\.png: line 1 is no record of fkinv batch/],
    [
      run('--out', 'photos/cat.txt', '--sidecars', '--existing', 'overwrite'),
      /photos\/cat\.txt is the file of photos\/cat\.txt, which is being written/,
    ],
    [
      [
        'batch',
        'pipes',
        ...quick,
        '--out',
        'p.jsonl',
        '--sidecars',
        ...(hasPipe ? ['--existing', 'append'] : ['--zebra']),
      ],
      hasPipe ? /pipes\/cat\.txt is no regular file: move it away, or leave --sidecars out/ : /zebra/,
    ],
  ];
  const outcomes = await fkinvEach(
    refusals.map(([args]) => args),
    at,
  );
  for (const [i, [args, message]] of refusals.entries()) {
    const { code, stderr } = outcomes[i] ?? t.fail();
    t.is(code, 2, args.join(' '));
    t.regex(stderr, message);
  }
  t.deepEqual(await readFile(inAt('photos/cat.png')), photo);
  t.is(await readFile(inAt('mine.csv'), 'utf8'), 'image,text\n');
  await rm(inAt('photos/cat.txt'));

  // Results behind a link, of another mode, one of them failed: --retry-failed leaves link and mode.
  await writeFile(inAt('photos/broken.png'), '');
  await mkdir(inAt('disk'));
  await symlink(path.join('disk', 'r.jsonl'), inAt('l.jsonl'));
  await symlink(path.join('disk', 'r.csv'), inAt('l.csv'));
  const first = run('--out', 'l.jsonl', '--csv', 'l.csv', '--sidecars');
  await fkinvEach([first], at);
  const kept = ['disk/r.jsonl', 'disk/r.csv', 'photos/cat.txt'];
  const owner = process.getuid?.() === 0 ? 1234 : (process.getuid?.() ?? 0);
  for (const name of kept) {
    await chmod(inAt(name), 0o600);
    if (process.getuid?.() === 0) await chown(inAt(name), owner, owner);
  }
  await copyFile(bells, inAt('photos/broken.png'));
  const again = run('--out', 'l.jsonl', '--csv', 'l.csv', '--retry-failed');
  const other = run('--out', 'other.jsonl', '--sidecars', '--existing', 'overwrite');
  const [retried] = await fkinvEach([again, other], at);
  t.regex(retried?.stdout ?? '', /^1 done {2}1 skipped {2}0 failed /);
  for (const name of ['l.jsonl', 'l.csv']) t.true((await lstat(inAt(name))).isSymbolicLink(), name);
  for (const name of kept) {
    const { mode, uid } = await stat(inAt(name));
    if (process.platform !== 'win32') t.deepEqual([mode & 0o777, uid], [0o600, owner], name);
  }
  t.is((await linesOf(inAt('disk/r.jsonl'))).length, 2);
  t.is((await readFile(inAt('disk/r.csv'), 'utf8')).trimEnd().split('\n').length, 3);
  t.is(await readFile(inAt('r.csv.part'), 'utf8'), 'of mine');
  t.deepEqual(
    (await readdir(at, { recursive: true })).filter((name) => name.endsWith('.part')),
    ['r.csv.part'],
  );
});
