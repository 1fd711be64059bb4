import { exec, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import type { Inversion } from '../../lib/inversion';
import { rewards } from '../../lib/sampling/rewards/list';
import { bells, cli, fkinv, fkinvEach, quick, root, squids } from '../helpers/fkinv';
import { needs } from '../helpers/needs';

test('one image: its prompt and rewards, and no progress bar when piped', async (t) => {
  const { code, stdout, stderr } = await fkinv('invert', bells, ...quick);
  t.is(code, 0);
  const values = rewards.map(({ field }) => `${field} -?\\d\\.\\d{4} {2}`).join('');
  t.regex(stdout, new RegExp(`^.+\\n {2}${values}reward [\\d.]+ {2}seed 0 {2}[\\d.]+ s\\n$`));
  t.is(stderr, '');
});

test('- is the image on standard input; --max-pixel-bytes changes no result, and its range is checked', async (t) => {
  const args = [cli, 'invert', '-', ...quick, '--quiet', '--max-pixel-bytes', '1'];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stdin.end(readFileSync(bells));
  const [code] = (await once(child, 'close')) as [number | null];
  t.is(code, 0);
  t.is(stdout, (await fkinv('invert', bells, ...quick, '--quiet')).stdout);
  const [refused] = await fkinvEach([['invert', bells, '--max-pixel-bytes', '0']]);
  t.is(refused?.code, 2);
  t.regex(refused?.stderr ?? '', /whole number from 1 to 2\^40/);
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

needs(existsSync('/dev/full'), '/dev/full')('a full disk is one line on stderr, and no crash', async (t) => {
  const command = `"${process.execPath}" "${cli}" --help >/dev/full`;
  const { code, stderr } = await t.throwsAsync<Error & { code: number; stderr: string }>(promisify(exec)(command));
  t.is(code, 1);
  t.regex(stderr, /^error: stdout: ENOSPC.*\n$/);
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

test('--quiet: the prompt alone, a line an image; errors stay', async (t) => {
  const [{ code, stdout, stderr } = t.fail(), json = t.fail()] = await fkinvEach([
    ['invert', bells, 'missing.png', squids, '--quiet', ...quick],
    ['invert', bells, squids, '-q', '--json', ...quick],
  ]);
  t.is(code, 1);
  const lines = json.stdout.trim().split('\n');
  const prompts = lines.map((line) => (JSON.parse(line) as Inversion).prompt);
  t.is(prompts.length, 2);
  t.is(stdout, `${prompts.join('\n')}\n`);
  t.regex(stderr, /^error: missing\.png: .*\(IMAGE_NOT_FOUND\)\n$/);
});

test('a warning is a line on stderr, and none with --quiet', async (t) => {
  const clip = mkdtempSync(path.join(tmpdir(), 'fkinv-clip-'));
  t.teardown(() => rmSync(clip, { recursive: true }));
  cpSync(path.join(root, 'models', 'clip'), clip, { recursive: true });
  const config = path.join(clip, 'tokenizer_config.json');
  writeFileSync(config, readFileSync(config, 'utf8').replace('"model_max_length": 48', '"model_max_length": 6'));
  const args = ['invert', bells, '--clip', clip, '--min-length', '20', ...quick];
  const [told, quiet] = await fkinvEach([args, [...args, '--quiet']]);
  t.regex(told?.stderr ?? '', /^warning: .*bells\.png: .*longer than the 6 tokens CLIP reads.*\n$/);
  t.is(quiet?.stderr, '');
});

test('--as-one: one prompt of all images', async (t) => {
  const [{ code, stdout, stderr } = t.fail(), asJson = t.fail(), missing = t.fail()] = await fkinvEach([
    ['invert', bells, squids, '--as-one', ...quick],
    ['invert', bells, squids, '--as-one', '--json', ...quick],
    ['invert', bells, 'missing.png', '--as-one', '--json', ...quick],
  ]);
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  t.is(stdout.trim().split('\n').length, 2, 'a prompt and its rewards');
  const json = JSON.parse(asJson.stdout) as { image: string[]; prompt: string };
  t.deepEqual(json.image, [bells, squids]);
  t.true(stdout.startsWith(`${json.prompt}\n`));
  t.is(missing.code, 1);
  t.like(JSON.parse(missing.stdout), { image: [bells, 'missing.png'], error: { code: 'IMAGE_NOT_FOUND' } });
});

test('an error is one line, and --verbose adds the stack and its cause', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-cli-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const broken = path.join(folder, 'broken.png');
  writeFileSync(broken, 'no image');
  const [brief = t.fail(), verbose = t.fail(), models = t.fail()] = await fkinvEach([
    ['invert', broken],
    ['invert', broken, '--verbose'],
    ['invert', bells, '--dllm', folder],
  ]);
  t.is(brief.code, 1);
  t.regex(brief.stderr, /^error: .*broken\.png cannot be decoded: .*\(IMAGE_INVALID\)\n$/);
  t.regex(verbose.stderr, /\n {4}at /);
  t.is(models.code, 1);
  t.regex(models.stderr, /^error: cannot read .*tokenizer\.json.*\(MODEL_NOT_FOUND\)\n$/);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} ends it in good order, with 130`, async (t) => {
    const images = Array.from({ length: 500 }, () => bells);
    const child = spawn(process.execPath, [cli, 'invert', ...images, ...quick]);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdout.once('data', () => child.kill(signal)); // one is done, and another under way
    const [code, by] = (await once(child, 'close')) as [number | null, string | null];
    t.deepEqual({ code, by, stderr }, { code: 130, by: null, stderr: 'interrupted\n' });
  });
}
