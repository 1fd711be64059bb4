// npm run prebuild in a copy of the package, and the library on what it made.
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { hasNvcc } from '../cuda/toolkit';
import { root, run } from '../helpers/child';

const copy = mkdtempSync(path.join(realpathSync(tmpdir()), 'fkinv-prebuild-')); // a link on macOS
const prebuilds = path.join(copy, 'prebuilds', `${process.platform}-${process.arch}`);
const bells = path.join(root, 'examples', 'bells.png');
let printed = '';

test.before(async (t) => {
  for (const name of [
    'package.json',
    'CMakeLists.txt',
    'binding',
    'cpp',
    'cuda',
    'third_party',
    'dist',
    'models',
    'scripts',
  ])
    cpSync(path.join(root, name), path.join(copy, name), { recursive: true });
  symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'), 'junction');
  const { code, stdout, stderr } = await run(process.execPath, [path.join(copy, 'scripts', 'prebuild.mjs')], {
    FKINV_CUDA: hasNvcc ? '80,90' : '0',
  });
  t.is(code, 0, stderr);
  printed = stdout.slice(stdout.lastIndexOf('.node: ') - 30);
  t.log(printed);
});

test.after.always(() => {
  rmSync(copy, { recursive: true });
});

function check(...args: string[]) {
  return run(process.execPath, [path.join(copy, 'scripts', 'glibc.mjs'), ...args]);
}

test.serial('one binary, named for the libc where there are two; no build stays', (t) => {
  const names = readdirSync(prebuilds);
  t.is(names.length, 1);
  t.regex(names[0] ?? '', process.platform === 'linux' ? /^fkinv-native\.(glibc|musl)\.node$/ : /^fkinv-native\.node$/);
  t.deepEqual(readdirSync(path.join(copy, 'build')), []);
});

test.serial('what it needs is said: no C++ runtime, and the glibc, which may be too new', async (t) => {
  if (!printed.includes('  glibc ')) return t.pass('not for glibc');
  t.regex(printed, /\n {2}glibc 2\.\d+ or newer, for \w+/);
  t.notRegex(printed, /libstdc\+\+|libgcc_s|FAULT/);
  t.is((await check('--at-most', '2.99')).code, 0);
  const tooNew = await check('--at-most', '2.5');
  t.is(tooNew.code, 1);
  t.regex(tooNew.stderr, /FAULT: it needs glibc 2\.\d+, and may need 2\.5 at most: build it on an older distribution/);
  t.notRegex(tooNew.stderr, /belongs inside|symbols/);
});

/** The GPUs that an addon is built for, as it says itself. */
async function architecturesOf(addon: string): Promise<string> {
  const { stdout, stderr } = await run(process.execPath, [
    '-p',
    `require(${JSON.stringify(addon)}).cuda().architectures`,
  ]);
  return stderr + stdout.trim();
}

test.serial('it has CUDA for the GPUs that were asked for', async (t) => {
  const [name = ''] = readdirSync(prebuilds);
  t.is(await architecturesOf(path.join(prebuilds, name)), hasNvcc ? '80, 90' : '');
});

/** Inverts the bells with the package of a folder, beside onnxruntime-node, which brings a C++ runtime of its own. */
function invert(folder: string, env: NodeJS.ProcessEnv) {
  const code = `
    process.env.ORT_DISABLE_TELEMETRY = '1'; // we turn off ours alone
    const ort = require(${JSON.stringify(require.resolve('onnxruntime-node'))});
    const { Inverter, FkinvError } = require(${JSON.stringify(folder)});
    (async () => {
      const inverter = await Inverter.load({ threads: 1 });
      const { prompt, rewardClip, tokens } = await inverter.invert(${JSON.stringify(bells)}, { seed: 1n });
      const failed = await inverter.invert('none.png').catch((error) => error);
      const unread = await ort.InferenceSession.create(Buffer.from('no graph')).catch((error) => error);
      await inverter.dispose();
      const addon = Object.keys(require.cache).filter((name) => /fkinv.*[.]node$/.test(name));
      console.log(JSON.stringify({ prompt, rewardClip, tokens: [...tokens] }));
      console.log(failed instanceof FkinvError, unread instanceof Error, addon.length, addon[0]);
    })();`;
  return run(process.execPath, ['-e', code], env);
}

test.serial('the library inverts with it as with the build, with onnxruntime-node in the process', async (t) => {
  const [ours, theirs] = [await invert(root, {}), await invert(copy, { PREBUILDS_ONLY: '1' })];
  for (const { code, stderr } of [ours, theirs]) t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const [expected] = ours.stdout.split('\n');
  const [inversion, rest] = theirs.stdout.split('\n');
  t.is(inversion, expected);
  t.true(rest?.startsWith(`true true 1 ${prebuilds}`), rest);
});

test.serial('where it does not load, the install script says why and builds from source', async (t) => {
  const [name = ''] = readdirSync(prebuilds);
  writeFileSync(path.join(prebuilds, name), readFileSync(path.join(prebuilds, name)).subarray(0, 1000));
  const script = path.join(copy, 'scripts', 'install.mjs');
  const first = await run(process.execPath, [script], { FKINV_CUDA: '0' });
  t.is(first.code, 0, first.stderr);
  t.regex(first.stdout, /^fkinv-native: builds its addon from source, for a minute or two \(.+\)\n/);
  t.true(first.stdout.includes(name), 'the file that does not load');
  const { code, stdout, stderr } = await run(process.execPath, [script], { FKINV_CUDA: '0' });
  t.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: '' });
  t.is((await invert(copy, {})).stdout.split('\n')[0], (await invert(root, {})).stdout.split('\n')[0]);
});

test.serial('the install script builds it again for other GPUs', async (t) => {
  if (!hasNvcc) return t.pass('no nvcc');
  const built = path.join(copy, 'build', 'Release', 'fkinv_native.node');
  t.is(await architecturesOf(built), '');
  const script = path.join(copy, 'scripts', 'install.mjs');
  const { code, stdout, stderr } = await run(process.execPath, [script], { FKINV_CUDA: '75' });
  t.is(code, 0, stderr);
  t.regex(stdout, /^fkinv-native: with CUDA for compute capability 7\.5, for some minutes more$/m);
  t.is(await architecturesOf(built), '75');
});
