import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';

const root = path.join(__dirname, '..');
const workspace = path.join(root, 'build', 'package'); // inside the package, so that it can be required by name
const run = promisify(execFile);

test.before(() => {
  mkdirSync(workspace, { recursive: true });
});

function file(name: string, code: string): string {
  const at = path.join(workspace, name);
  writeFileSync(at, code);
  return at;
}

const use = `
  const error = new FkinvError('ABORTED', 'm');
  console.log(typeof Inverter.load, error.code, error instanceof Error, Object.keys(errorCodes).length > 10);
  console.log(philox([0, 0, 0, 0], [0, 0])[0].toString(16));
`;
const printed = 'function ABORTED true true\n6627e8d5\n';

test('require', async (t) => {
  const code = `
    const { Inverter, FkinvError, errorCodes } = require('fkinv-native');
    const { philox } = require('fkinv-native/kernels');
    ${use}`;
  const { stdout, stderr } = await run(process.execPath, [file('use.cjs', code)]);
  t.is(stdout, printed);
  t.is(stderr, '');
});

test('import', async (t) => {
  const code = `
    import { Inverter, FkinvError, errorCodes } from 'fkinv-native';
    import { philox } from 'fkinv-native/kernels';
    ${use}`;
  const { stdout, stderr } = await run(process.execPath, [file('use.mjs', code)]);
  t.is(stdout, printed);
  t.is(stderr, '');
});

test('the types hold from a CommonJS and an ES module, in strict TypeScript', async (t) => {
  const code = `
    import { Inverter, type Inversion } from 'fkinv-native';
    import { coupling } from 'fkinv-native/kernels';
    export async function main(): Promise<number> {
      await using inverter = await Inverter.load({ threads: 1 });
      const inversion: Inversion = await inverter.invert(new URL('file:///a.png'), { lambdaClip: 1, seed: 1n });
      const [first]: readonly (readonly number[])[] = inversion.coupling.matrix;
      return (first?.length ?? 0) + (coupling(new Float32Array(2), { positions: 1, vocab: 2 }).reward[0] ?? 0);
    }
    // @ts-expect-error an unknown option
    export const wrong = (inverter: Inverter) => inverter.invert('a.png', { particls: 3 });`;
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const lib = ['--target', 'es2022', '--lib', 'es2022,esnext.disposable', '--types', 'node'];
  for (const name of ['use.cts', 'use.mts']) {
    const flags = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--module',
      'node16',
      '--moduleResolution',
      'node16',
      ...lib,
    ];
    await t.notThrowsAsync(run(process.execPath, [tsc, ...flags, file(name, code)], { cwd: root }));
  }
});

test('nothing that the package needs at run time is a development dependency', (t) => {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
    allowScripts: Record<string, boolean>;
  };
  const sources = [
    'image',
    'tokenizer',
    'native',
    'options',
    'validate',
    'cli/run',
    'cli/invert',
    'cli/report',
    'cli/progress',
  ];
  for (const source of sources) {
    const code = readFileSync(path.join(root, 'dist', `${source}.js`), 'utf8');
    const packages = [...code.matchAll(/require\("([^."][^"]*)"\)/g)].map(([, name = '']) => name);
    for (const name of packages.filter((each) => !each.startsWith('node:')))
      t.true(name in manifest.dependencies, name);
  }
  t.false(manifest.allowScripts['onnxruntime-node'], 'its install script downloads what is not needed');
});
