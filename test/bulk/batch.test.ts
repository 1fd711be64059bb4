// fkinv batch: what it goes through, what it says on the way, and what it is told when it cannot.
import { once } from 'node:events';
import { appendFile, copyFile, cp, mkdir, readdir, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { Inverter } from 'fkinv-native';
import { checkInputs, imagesOf } from '../../lib/bulk/inputs';
import { bells, fkinvEach, root } from '../helpers/fkinv';
import { quick, scene, workspace, start, batch, linesOf } from '../helpers/batch';

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

test('a reader of the progress that goes away does not end the batch', async (t) => {
  const at = await workspace(t, 6);
  const child = start(at, 'photos', '--out', 'r.jsonl', '--json-progress', '--max-batch', '2', ...quick);
  child.stderr?.destroy();
  t.deepEqual(await once(child, 'close'), [0, null]);
  t.is((await linesOf(path.join(at, 'r.jsonl'))).length, 6);
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
