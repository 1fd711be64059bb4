// A prebuild made as a release makes it, and used in place of build/Release.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';

const root = path.join(__dirname, '..', '..');
const folder = path.join(mkdtempSync(path.join(tmpdir(), 'fkinv-')), 'a folder');

const node = (...args: string[]): string =>
  execFileSync(process.execPath, args, {
    cwd: folder,
    env: { ...process.env, PREBUILDS_ONLY: '1' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });

test.before('npm run prebuild', (t) => {
  for (const part of ['package.json', 'CMakeLists.txt', 'scripts', 'binding', 'cpp', 'dist', 'models', 'examples']) {
    cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
  const output = execFileSync('npm', ['run', 'prebuild'], { cwd: folder, encoding: 'utf8' });
  t.log(output.trim().split('\n').at(-1));
});

test('it is where node-gyp-build looks, and a developer’s build is not touched', (t) => {
  const name = process.platform === 'linux' ? 'fkinv-native.glibc.node' : 'fkinv-native.node';
  t.deepEqual(readdirSync(path.join(folder, 'prebuilds', `${process.platform}-${process.arch}`)), [name]);
  t.deepEqual(readdirSync(path.join(folder, 'build')), ['prebuild']);
});

test('the install script finds nothing to do', (t) => {
  t.is(node(path.join('scripts', 'install.mjs')), '');
});

test('it inverts as build/Release does, beside an onnxruntime-node loaded before or after', (t) => {
  const invert = `
    const { Inverter } = require('./dist');
    const inverter = await Inverter.load({ threads: 1 });
    const { prompt, tokens, rewardClip } = await inverter.invert('examples/bells.png', { seed: 3 });
    console.log(JSON.stringify({ prompt, tokens, rewardClip }));
    await inverter.dispose();`;
  const other = `await require('onnxruntime-node').InferenceSession.create('models/clip/text_model.onnx');`;
  const run = (code: string): string => node('-e', `(async () => { ${code} })()`);
  const expected = execFileSync(process.execPath, ['-e', `(async () => { ${invert} })()`], {
    cwd: root,
    encoding: 'utf8',
  });
  t.is(run(invert), expected);
  t.is(run(other + invert), expected);
  t.is(run(invert + other), expected);
});
