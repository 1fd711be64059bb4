import { exec, execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';

const root = path.join(__dirname, '..', '..');
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
  const files = ['use.cts', 'use.mts'].map((name) => file(name, code));
  const flags = ['--noEmit', '--strict', '--module', 'node16', '--moduleResolution', 'node16', ...lib];
  await t.notThrowsAsync(run(process.execPath, [tsc, ...flags, ...files], { cwd: root }));
});

/** The files under `folder`, by their paths in the package. */
function filesIn(folder: string, ending: string): string[] {
  const entries = readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' });
  return entries
    .filter((file) => file.endsWith(ending))
    .map((file) => path.posix.join(folder, file.replaceAll('\\', '/')));
}

/** What code or declarations ask for: `from 'a'`, `require("a")`, `import("a")`. */
function modulesOf(file: string): string[] {
  const code = readFileSync(path.join(root, file), 'utf8');
  return [...code.matchAll(/(?:from |require\(|import\()['"]([^'"]+)['"]/g)].map(([, name = '']) => name);
}

/** The declarations that an import of `file` brings in. */
function declarationsFrom(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found;
  found.add(file);
  for (const name of modulesOf(file))
    declarationsFrom(`${path.posix.join(path.posix.dirname(file), name)}.d.ts`, found);
  return found;
}

/** What a user needs: the compiled code, the models, what the addon is built from where no prebuilt one fits, the notices. */
const contents = [
  /^(package\.json|README\.md|CHANGELOG\.md|NOTICE\.md|LICENSE)$/,
  /^dist\/.+\.js$/,
  /^dist\/.+\.d\.ts$/,
  /^models\/((NOTICE|README)\.md|hint-words\.txt)$/,
  /^models\/(dllm|clip)\/([^/]+\.(onnx|json)|SHA256SUMS)$/,
  /^examples\/bells\.png$/,
  /^(CMakeLists\.txt|scripts\/(cuda|install|toolchain)\.mjs)$/,
  /^(binding|cpp)\/.+\.(cpp|h)$/,
  /^cuda\/.+\.(cpp|cu|cuh|h)$/,
  /^third_party\/onnxruntime\/(LICENSE|onnxruntime_.+\.h)$/,
];
/** What a working copy need not have. */
const later = /^prebuilds\/[^/]+\/[^/]+\.node$/;

test('the tarball holds what a user needs, and nothing else', async (t) => {
  const pack = 'npm pack --ignore-scripts --silent --pack-destination build/package';
  const tarball = (await promisify(exec)(pack, { cwd: root })).stdout.trim();
  const { stdout } = await run('tar', ['-tzf', tarball], { cwd: workspace });
  const files = stdout.split(/\r?\n/).flatMap((file) => (file === '' ? [] : [file.replace('package/', '')]));

  const unknown = files.filter((file) => !later.test(file) && !contents.some((pattern) => pattern.test(file)));
  t.deepEqual(unknown, []);
  const missing = contents.filter((pattern) => !files.some((file) => pattern.test(file)));
  t.deepEqual(missing, []);

  const bytes = files.filter((file) => !later.test(file)).map((file) => statSync(path.join(root, file)).size);
  const document = readFileSync(path.join(root, 'docs', 'install.md'), 'utf8');
  const stated = Number(/the package takes (\d+) MB/.exec(document)?.[1]);
  t.is(Math.round(bytes.reduce((sum, size) => sum + size, 0) / 1e6), stated, 'the size that docs/install.md states');

  const sources = filesIn('lib', '.ts').filter((file) => !file.endsWith('.d.ts'));
  const compiled = sources.map((file) => file.replace(/^lib(.*)\.ts$/, 'dist$1.js'));
  const code = files.filter((file) => /^dist\/.*\.js$/.test(file));
  t.deepEqual(code.sort(), compiled.sort(), 'dist/ has files that lib/ has not: delete it, and npm run compile');

  const declarations = declarationsFrom('dist/kernels.d.ts', declarationsFrom('dist/index.d.ts'));
  t.deepEqual(files.filter((file) => file.endsWith('.d.ts')).sort(), [...declarations].sort());
});

test('nothing that the package needs at run time is a development dependency', (t) => {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
    peerDependencies: Record<string, string>;
    peerDependenciesMeta: Record<string, { optional: boolean }>;
    allowScripts: Record<string, boolean>;
  };
  for (const file of filesIn('dist', '.js')) {
    const modules = modulesOf(file).filter((name) => !/^(node:|\.)/.test(name));
    for (const module of modules) {
      const [name = ''] = /^(@[^/]+\/)?[^/]+/.exec(module) ?? []; // csv-stringify of csv-stringify/sync
      const isOptional = manifest.peerDependenciesMeta[name]?.optional === true && name in manifest.peerDependencies;
      t.true(name in manifest.dependencies || isOptional, `${module}, in ${file}`);
    }
  }
  t.false(manifest.allowScripts['onnxruntime-node'], 'its install script downloads what is not needed');
});
