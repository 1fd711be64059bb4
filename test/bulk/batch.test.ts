// fkinv batch: what it goes through, what it writes, what it goes on from, and what it is told when that cannot be.
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  chown,
  copyFile,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
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
  t.deepEqual(await found(['-'], `\uFEFF${at}/ä.png\n${at}/b.gif`), ['ä.png', 'b.gif'], 'with a byte order mark');
  const names = `\uFEFF${at}/ä\n b.png\0${at}/c.png\r\0`;
  for (const size of [1, 2, 7, 1000]) {
    const bytes = Buffer.from(names);
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    const images: string[] = [];
    for await (const image of imagesOf(['-'], Readable.from(chunks), { nullSeparated: true })) images.push(image);
    t.deepEqual(images, [`${at}/ä\n b.png`, `${at}/c.png\r`], `in pieces of ${size} bytes`);
  }
  for (const inputs of [['no/such'], ['no/such/*.png'], ['-', '-']]) {
    await t.throwsAsync(checkInputs(inputs), { code: 'INVALID_OPTION' });
  }
});

test('what is left out of folders: images of other formats are counted, and what is no image is not', async (t) => {
  const at = await workspace(t, 1);
  for (const name of ['a.HEIC', 'b.heic', 'inner/c.bmp', '._000.png', '._a.heic', 'Thumbs.db', '.DS_Store', 'x.txt']) {
    await writeFile(path.join(at, 'photos', name), '');
  }
  await mkdir(path.join(at, 'none'));
  await writeFile(path.join(at, 'none', 'a.heic'), '');
  const run = (...args: string[]): string[] => ['batch', ...args, ...quick];
  const [left, glob, none, help] = await fkinvEach(
    [
      run('photos', '--out', '1.jsonl'),
      run('photos/**/*.{png,bmp}', '--out', '2.jsonl', '--json-progress'),
      run('none', '--out', '3.jsonl'),
      ['batch', '--help'],
    ],
    at,
  );
  t.is(left?.code, 0);
  t.regex(left?.stdout ?? '', /^1 done {2}0 skipped {2}0 failed /);
  const what =
    /left out 3 images of formats that are not decoded \(2 \.heic, 1 \.bmp\): save them as PNG or JPEG first/;
  t.regex(left?.stderr ?? '', what);
  t.regex(glob?.stderr ?? '', /\{"warning":"left out an image of a format that is not decoded \(1 \.bmp\): /);
  t.is(none?.code, 2);
  t.regex(
    none?.stderr ?? '',
    /^error: none: there is no image; left out an image .*\(1 \.heic\).* \(INVALID_OPTION\)\n$/,
  );
  for (const format of ['PNG', 'JPEG', 'WebP', 'GIF', 'AVIF', 'TIFF', 'SVG', 'HEIC']) {
    t.true(help?.stdout.includes(format), format);
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

test('a reader of the progress that goes away does not end the batch', async (t) => {
  const at = await workspace(t, 6);
  const child = start(at, 'photos', '--out', 'r.jsonl', '--json-progress', '--max-batch', '2', ...quick);
  child.stderr?.destroy();
  t.deepEqual(await once(child, 'close'), [0, null]);
  t.is((await linesOf(path.join(at, 'r.jsonl'))).length, 6);
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
    [['photos', '--out', 'r.jsonl', '--csv-bom'], /^error: --csv-bom: is of --csv, which is not given/],
    [['photos', '--out', 'r.jsonl', '--null'], /^error: --null: is of a list on stdin: give - for it/],
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
