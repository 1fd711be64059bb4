import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import type { Inversion } from '../lib/inversion';

const root = path.join(__dirname, '..');
const cli = path.join(root, 'dist', 'cli.js');
const bells = path.join(root, 'examples', 'bells.png');
const squids = path.join(root, 'examples', 'squids.png');
const quick = ['--particles', '2', '--steps', '3'];

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

function fkinv(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [cli, ...args], { maxBuffer: 2 ** 26 }, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

test('one image: its prompt and rewards, and no progress bar when piped', async (t) => {
  const { code, stdout, stderr } = await fkinv('invert', bells, ...quick);
  t.is(code, 0);
  t.regex(stdout, /^.+\n {2}rewardClip \d\.\d{4} {2}rewardEdit \d\.\d{4} {2}reward [\d.]+ {2}seed 0 {2}[\d.]+ s\n$/);
  t.is(stderr, '');
});

test('no colours when piped, in a CI either', async (t) => {
  const env = { ...process.env, CI: '1' };
  const { stdout } = await promisify(execFile)(process.execPath, [cli, 'invert', bells, ...quick], { env });
  t.false(stdout.includes('\u001b'));
});

test('a reader that has enough ends it quietly', async (t) => {
  const images = Array.from({ length: 50 }, () => bells);
  const child = spawn(process.execPath, [cli, 'invert', ...images, ...quick]);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout.once('data', () => child.stdout.destroy());
  const [code] = (await once(child, 'close')) as [number | null];
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
});

test('several images: each line names its image', async (t) => {
  const { code, stdout } = await fkinv('invert', bells, squids, ...quick);
  t.is(code, 0);
  const lines = stdout.split('\n');
  t.true(lines[0]?.startsWith(`${bells}: `));
  t.true(lines[2]?.startsWith(`${squids}: `));
});

test('--json is an object for one image, and JSON lines for more', async (t) => {
  const one = await fkinv('invert', bells, '--json', ...quick);
  const inversion = JSON.parse(one.stdout) as Inversion & { image: string };
  t.is(inversion.image, bells);
  t.is(inversion.particles.length, 2);
  t.is(inversion.trace.length, 4);
  t.is(inversion.coupling.matrix.length, 28);

  const { code, stdout, stderr } = await fkinv('invert', bells, 'missing.png', squids, '--json', ...quick);
  t.is(code, 1, 'an image failed');
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.is(rows.length, 3);
  t.is(rows[0]?.['prompt'], inversion.prompt);
  t.like(rows[1], { image: 'missing.png', error: { code: 'IMAGE_NOT_FOUND' } });
  t.is(rows[2]?.['image'], squids);
  t.is(stderr.trim().split('\n').length, 1, 'an error is one line');
  t.true(stderr.startsWith('error: missing.png: '));
});

test('every option is a flag', async (t) => {
  const flags = ['--length', '9', '--min-length', '9', '--particles', '3', '--steps', '2', '--lambda-clip', '0'];
  const more = ['--lambda-edit', '7.5', '--temperature', '0.7', '--coupling-over', 'all', '--threads', '1'];
  const folders = ['--dllm', path.join(root, 'models', 'dllm'), '--clip', path.join(root, 'models', 'clip')];
  const seed = '18446744073709551615';
  const { code, stdout, stderr } = await fkinv(
    'invert',
    bells,
    ...flags,
    ...more,
    ...folders,
    '--seed',
    seed,
    '--json',
  );
  t.is(stderr, '');
  t.is(code, 0);
  const inversion = JSON.parse(stdout) as Omit<Inversion, 'seed'> & { seed: string };
  t.is(inversion.seed, seed);
  t.is(inversion.tokens.length, 9);
  t.false(inversion.tokens.includes(0));
  t.is(inversion.particles.length, 3);
  t.is(inversion.trace.length, 3);
  t.true(Math.abs(inversion.reward - 7.5 * inversion.rewardEdit) < 1e-9);
  t.true(inversion.coupling.counted.every(Boolean));
});

test('the options of the whole method are flags too', async (t) => {
  const flags = ['--order', 'entropy', '--block-length', '6', '--guesses', '2', '--resampling', 'residual'];
  const more = ['--ess-threshold', '0', '--top-k', '30', '--top-p', '0.9', '--max-batch', '5', '--steps', '6'];
  const text = ['--template', 'a [4] on[[ [6]', '--banned', 'bell, two bells ,#345', '--particles', '3'];
  const { code, stdout, stderr } = await fkinv('invert', bells, squids, ...flags, ...more, ...text, '--json');
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const [first, second] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Inversion & { image: string });
  for (const inversion of [first ?? t.fail(), second ?? t.fail()]) {
    t.is(inversion.timings.images, 1, 'five rows hold one image of three particles');
    t.regex(inversion.prompt, /^a .* on\[ /);
    t.false(inversion.tokens.includes(345));
    t.notRegex(inversion.prompt, /\b(bell|two bells)\b/i);
    t.true(inversion.trace.every(({ resampled }) => !resampled));
  }
  t.is(second?.image, squids);
});

test('--as-one: one prompt of all images', async (t) => {
  const { code, stdout, stderr } = await fkinv('invert', bells, squids, '--as-one', ...quick);
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  t.is(stdout.trim().split('\n').length, 2, 'a prompt and its rewards');
  const json = JSON.parse((await fkinv('invert', bells, squids, '--as-one', '--json', ...quick)).stdout) as {
    image: string[];
    prompt: string;
  };
  t.deepEqual(json.image, [bells, squids]);
  t.true(stdout.startsWith(`${json.prompt}\n`));
  const missing = await fkinv('invert', bells, 'missing.png', '--as-one', '--json', ...quick);
  t.is(missing.code, 1);
  t.like(JSON.parse(missing.stdout), { image: [bells, 'missing.png'], error: { code: 'IMAGE_NOT_FOUND' } });
});

const wrong: [string[], RegExp][] = [
  [['invert'], /missing required argument 'image'/],
  [['invert', bells, '--particls', '3'], /Did you mean --particles\?/],
  [['invert', bells, '--particles', '0'], /--particles <K>.*whole number from 1 to 1024/],
  [['invert', bells, '--steps', 'many'], /--steps <T>.*whole number from 1 to 1000/],
  [['invert', bells, '--length', ''], /--length <N>.*whole number/],
  [['invert', bells, '--temperature', '0.05'], /--temperature.*0 or a number from 0.06 to 10/],
  [['invert', bells, '--seed', '18446744073709551616'], /--seed.*2\^64/],
  [['invert', bells, '--threads', '0'], /--threads.*from 1 to 256/],
  [['invert', bells, '--coupling-over', 'some'], /Allowed choices are text, all/],
  [['invert', bells, '--order', 'chance'], /Allowed choices are random, confidence, entropy, margin/],
  [['invert', bells, '--resampling', 'some'], /Allowed choices are multinomial/],
  [['invert', bells, '--top-p', '0'], /--top-p.*above 0, to 1/],
  [['invert', bells, '--banned', 'cat,,dog'], /separated by commas/],
  [['invert', bells, '--template', 'a [x]'], /template: .*\(TEMPLATE_INVALID\)/],
  [['invert', bells, '--template', 'a [4]', '--length', '5'], /length: cannot be given with template/],
  [['invert', bells, '--temperature', '0', '--order', 'margin'], /\(IDENTICAL_PARTICLES\)/],
  [['invert', bells, '--particles', '9', '--max-batch', '8'], /\(BATCH_TOO_LARGE\)/],
  [['invert', bells, '--length', '33'], /length: 33 is over the model's limit of 32/],
  [['invret', bells], /unknown command 'invret'/],
];
for (const [args, message] of wrong) {
  test(`wrong usage exits with 2: ${args.join(' ').replaceAll(root, '')}`, async (t) => {
    const { code, stdout, stderr } = await fkinv(...args);
    t.is(code, 2);
    t.is(stdout, '');
    t.regex(stderr, message);
  });
}

test('an error is one line, and --verbose adds the stack and its cause', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-cli-'));
  const broken = path.join(folder, 'broken.png');
  writeFileSync(broken, 'no image');
  const brief = await fkinv('invert', broken);
  t.is(brief.code, 1);
  t.regex(brief.stderr, /^error: .*broken\.png cannot be decoded: .*\(IMAGE_INVALID\)\n$/);
  const verbose = await fkinv('invert', broken, '--verbose');
  t.regex(verbose.stderr, /\n {4}at /);
  const models = await fkinv('invert', bells, '--dllm', folder);
  t.is(models.code, 1);
  t.regex(models.stderr, /^error: cannot read .*config\.json.*\(MODEL_NOT_FOUND\)\n$/);
});

test('help and version', async (t) => {
  const help = await fkinv('invert', '--help');
  t.is(help.code, 0);
  for (const flag of ['--lambda-clip', '--json', '--verbose', '--seed']) t.true(help.stdout.includes(flag));
  t.true((await fkinv('--help')).stdout.includes('Exit codes'));
  t.regex((await fkinv('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('Ctrl-C leaves cleanly with 130', async (t) => {
  const images = Array.from({ length: 500 }, () => bells);
  const child = spawn(process.execPath, [cli, 'invert', ...images, ...quick]);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout.once('data', () => child.kill('SIGINT')); // one is done, and another under way
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  t.deepEqual({ code, signal, stderr }, { code: 130, signal: null, stderr: 'interrupted\n' });
});
