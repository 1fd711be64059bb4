// fkinv profile: its table, --json, --trace, and what goes wrong.
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import type { ChromeTrace, Profile } from 'fkinv-native';
import { blocksUnder } from '../helpers/documents';
import { bells, fkinv, fkinvEach, fkinvIn, quick } from '../helpers/fkinv';

const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-profile-'));
test.after.always(() => rmSync(folder, { recursive: true }));

test('a table of models, kernels, text and image; the parts of the total; the limits', async (t) => {
  const { code, stdout, stderr } = await fkinv('profile', bells, ...quick);
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const lines = stdout.split('\n');
  t.regex(lines[0] ?? '', /^\w+ /);
  t.regex(lines[2] ?? '', /^ +calls +ms +median +MB read +GB\/s +GFLOP\/s +of limit$/);
  t.is(
    new Set(lines.filter((line) => / {2}/.test(line) && line.startsWith('  ')).map((line) => line.length)).size,
    1,
    'aligned',
  );
  t.regex(
    stdout,
    /\nmodel runs\n( {2}\S.* –\n){3}kernels\n( {2}\S.* %\n)+text\n( {2}\S.* –\n){2}image\n {2}decodeImage.* –\n/,
  );
  t.regex(stdout, /\n {2}pass +4 +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ %\n/);
  const shares = [...stdout.matchAll(/^(model runs|kernels|text|image|rest|total ms) +([\d.]+) +([\d.]+) %$/gm)];
  t.deepEqual(
    shares.map(([, name]) => name),
    ['model runs', 'kernels', 'text', 'image', 'rest', 'total ms'],
  );
  const [models = NaN, kernels = NaN, text = NaN, image = NaN, rest = NaN, total = NaN] = shares.map(([, , ms]) =>
    Number(ms),
  );
  t.true(Math.abs(models + kernels + text + image + rest - total) < 0.04);
  const between = Number(/^between the model runs: ([\d.]+) % \(kernels, text and rest\)$/m.exec(stdout)?.[1]);
  t.true(Math.abs(between - (100 * (kernels + text + rest)) / total) < 0.1);
  t.regex(stdout, /\nlimits measured with \d+ threads?: [\d.]+ GFLOP\/s and [\d.]+ GB\/s\n$/);
});

test('without an image it takes one of the package; --threads and colours are heeded', async (t) => {
  const { code, stdout } = await fkinvIn({ FORCE_COLOR: '1' }, 'profile', '--threads', '1', ...quick);
  t.is(code, 0);
  t.true(stdout.includes('\u001b['));
  t.regex(stdout, /limits measured with 1 thread: /);
});

test('--json is the whole profile, --trace a file of every event', async (t) => {
  const file = path.join(folder, 'trace.json');
  const seed = String(2n ** 64n - 1n);
  const { code, stdout, stderr } = await fkinv('profile', bells, '--json', '--trace', file, '--seed', seed, ...quick);
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const profile = JSON.parse(stdout) as Profile & { image: string };
  t.is(profile.image, bells);
  t.is(String(profile.inversion.seed), seed);
  const plain = JSON.parse((await fkinv('invert', bells, '--json', '--seed', seed, ...quick)).stdout) as object;
  t.deepEqual({ ...profile.inversion, timings: null, image: bells }, {
    ...plain,
    timings: null,
    image: bells,
  } as never);
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as ChromeTrace;
  t.is(traceEvents.filter(({ ph }) => ph === 'X').length, profile.events.length);
});

test('a trace that cannot be written is an error, and what is printed is not lost', async (t) => {
  const file = path.join(folder, 'missing', 'trace.json');
  const [{ code, stdout, stderr } = t.fail(), verbose = t.fail()] = await fkinvEach([
    ['profile', bells, '--trace', file, ...quick],
    ['profile', bells, '--trace', file, '--verbose', ...quick],
  ]);
  t.is(code, 1);
  t.regex(stdout, /\nlimits measured with .*\n$/);
  t.regex(stderr, /^error: cannot write .*trace\.json: ENOENT.*missing.* \(OUTPUT_FAILED\)\n$/);
  t.regex(verbose.stderr, /^error: .*\nFkinvError: /);
});

test('a trace replaces a trace, and nothing else; it goes where a link leads, and into a device', async (t) => {
  const [mine, link, target] = ['mine.json', 'link.json', 'target.json'].map((name) => path.join(folder, name));
  if (mine === undefined || link === undefined || target === undefined) return t.fail();
  writeFileSync(mine, '{"mine":true}');
  symlinkSync(target, link);
  const traces = [mine, link, link, '/dev/null'];
  const [foreign, first, second, device] = await fkinvEach(
    traces.map((trace) => ['profile', bells, '--trace', trace, ...quick]),
  );
  t.is(foreign?.code, 2);
  t.regex(foreign?.stderr ?? '', /mine\.json is no trace of fkinv profile: give another --trace, or remove it first/);
  t.is(readFileSync(mine, 'utf8'), '{"mine":true}');
  t.deepEqual([first?.code, second?.code, device?.code], [0, 0, 0]);
  t.true(lstatSync(link).isSymbolicLink() && !lstatSync('/dev/null').isFile());
  t.true((JSON.parse(readFileSync(target, 'utf8')) as ChromeTrace).traceEvents.length > 10);
});

test('an image that fails gives no trace; a wrong option exits with 2', async (t) => {
  const file = path.join(folder, 'none.json');
  const [missing = t.fail(), wrong = t.fail()] = await fkinvEach([
    ['profile', 'missing.png', '--trace', file],
    ['profile', bells, '--length', '33'],
  ]);
  t.like(missing, { code: 1, stdout: '' });
  t.regex(missing.stderr, /^error: .*missing\.png.* \(IMAGE_NOT_FOUND\)\n$/);
  t.false(existsSync(file));
  t.like(wrong, { code: 2, stdout: '' });
  t.regex(wrong.stderr, /^error: .*length: 33 is over.*\n$/);
});

/** Names and calls of the lines of the table, in any order: what took longest differs. */
const callsOf = (output: string): string[] =>
  [...output.matchAll(/^ {2}(.+?) +(\d+) +[\d.]+ +[\d.]+ /gm)].map(([, name, calls]) => `${name} ${calls}`).sort();

/** Its lines without numbers, in any order. */
const wordsOf = (output: string): string[] =>
  output
    .replaceAll(/[\d. –%]+/g, ' ')
    .split('\n')
    .sort();

test('docs/profiling.md shows what it prints', async (t) => {
  const [shown] = blocksUnder('docs/profiling.md', 'Where the time goes');
  t.is(shown?.code, 'npx fkinv profile examples/bells.png\n');
  const { stdout } = await fkinv('profile', 'examples/bells.png', '--threads', '2');
  const expected = callsOf(shown?.output ?? '');
  t.true(expected.length > 20);
  t.deepEqual(callsOf(stdout), expected);
  t.deepEqual(wordsOf(stdout), wordsOf(shown?.output ?? ''));
});
