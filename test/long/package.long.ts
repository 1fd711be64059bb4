// The package as it is shipped: the addon that npm run prebuild makes; the tarball as a stranger meets it (check-package.mjs), by
// `npm install fkinv-native` with the tarball in place of the registry, on each Node that is supported; and a machine that no
// prebuilt addon fits. It is built once, in a copy of the package. Needs the registry for the packages that it depends on.
import { execFile, spawnSync, type ExecFileException } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
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
import { pathToFileURL } from 'node:url';
import test from 'ava';
import { hasNvcc } from '../cuda/toolkit';
import { root, run as runHere } from '../helpers/child';
import { blocksUnder } from '../helpers/documents';
import { serveTarball, type Manifest } from '../helpers/registry';

const folder = mkdtempSync(path.join(realpathSync(tmpdir()), 'fkinv-package-')); // a link on macOS
const source = path.join(folder, 'source');
const prebuilds = path.join(source, 'prebuilds', `${process.platform}-${process.arch}`);
/** A project that the package is installed in without a prebuilt addon. */
const bare = path.join(folder, 'bare');
const installed = path.join(bare, 'node_modules', 'fkinv-native');
const name = 'fkinv-native.tgz';
const bells = path.join(root, 'examples', 'bells.png');
let printed = '';

interface Outcome {
  failed: boolean;
  output: string;
}

function run(cwd: string, command: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const options = { cwd, env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip', ...env }, maxBuffer: 1 << 24 };
  return new Promise((resolve) => {
    execFile(command, args, options, (error: ExecFileException | null, stdout, stderr) =>
      resolve({ failed: error !== null, output: stdout + stderr }),
    );
  });
}

/** The same, of a command that must succeed. */
async function must(...parameters: Parameters<typeof run>): Promise<string> {
  const { failed, output } = await run(...parameters);
  if (failed) throw new Error(output);
  return output.trim();
}

async function pack(from: string, to: string): Promise<void> {
  const packed = await must(from, 'npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder]);
  cpSync(path.join(folder, packed), path.join(to, name));
}

function makeProject(title: string): string {
  const project = path.join(folder, title);
  mkdirSync(project);
  writeFileSync(path.join(project, 'package.json'), '{ "private": true }\n');
  return project;
}

/** What git tracks, and what it would. The copy is no clone, and its dist/ and prebuilds/ are not those that other tests use. */
function copySources(): void {
  const list = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  for (const file of list.stdout.trim().split('\n')) {
    if (existsSync(path.join(root, file))) cpSync(path.join(root, file), path.join(source, file));
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(source, 'node_modules'), 'junction');
}

test.before(async (t) => {
  copySources();
  printed = await must(source, 'npm', ['run', 'prebuild'], { FKINV_CUDA: hasNvcc ? undefined : '0' });
  printed = printed.slice(printed.lastIndexOf('.node: ') - 30);
  t.log(printed);
  await must(source, 'npm', ['run', 'prepare']);
  await pack(source, folder);
});

test.after.always(() => rmSync(folder, { recursive: true, force: true }));

function check(...args: string[]) {
  return runHere(process.execPath, [path.join(source, 'scripts', 'glibc.mjs'), ...args]);
}

test.serial('one binary, named for the libc where there are two; no build stays', (t) => {
  const names = readdirSync(prebuilds);
  t.is(names.length, 1);
  t.regex(names[0] ?? '', process.platform === 'linux' ? /^fkinv-native\.(glibc|musl)\.node$/ : /^fkinv-native\.node$/);
  t.deepEqual(readdirSync(path.join(source, 'build')), []);
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
  const { stdout, stderr } = await runHere(process.execPath, [
    '-p',
    `require(${JSON.stringify(addon)}).cuda().architectures`,
  ]);
  return stderr + stdout.trim();
}

test.serial('it has CUDA for every GPU that a package is for, or for those that FKINV_CUDA names', async (t) => {
  const [name = ''] = readdirSync(prebuilds);
  t.is(await architecturesOf(path.join(prebuilds, name)), hasNvcc ? '75, 80, 86, 89, 90, 100, 120' : '');
  if (!hasNvcc) return;
  const scripts = pathToFileURL(path.join(root, 'scripts', 'cuda.mjs')).href;
  const code = `import(${JSON.stringify(scripts)}).then(({ cudaToShip }) => console.log(cudaToShip().architectures.join()))`;
  t.is((await runHere(process.execPath, ['-e', code], { FKINV_CUDA: '80,90' })).stdout, '80,90\n');
});

/** Inverts the bells with the package of a folder, beside onnxruntime-node, which brings a C++ runtime of its own. */
function invert(at: string, env: NodeJS.ProcessEnv) {
  const code = `
    process.env.ORT_DISABLE_TELEMETRY = '1'; // we turn off ours alone
    const ort = require(require.resolve('onnxruntime-node', { paths: [${JSON.stringify(at)}] }));
    const { Inverter, FkinvError } = require(${JSON.stringify(at)});
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
  return runHere(process.execPath, ['-e', code], env);
}

test.serial('the library inverts with it as with the build, with onnxruntime-node in the process', async (t) => {
  const [ours, theirs] = [await invert(root, {}), await invert(source, { PREBUILDS_ONLY: '1' })];
  for (const { code, stderr } of [ours, theirs]) t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const [expected] = ours.stdout.split('\n');
  const [inversion, rest] = theirs.stdout.split('\n');
  t.is(inversion, expected);
  t.true(rest?.startsWith(`true true 1 ${prebuilds}`), rest);
});

test.serial('a stranger inverts an image, on Node 20, 22 and 24', async (t) => {
  const project = makeProject('nodes');
  const system = `node${process.platform === 'darwin' && process.arch === 'arm64' ? '-bin' : ''}-${process.platform}-${process.arch}`;
  const versions = ['20', '22', '24'];
  const aliases = versions.map((version) => `node${version}@npm:${system}@${version}`); // what the package `node` installs
  await must(project, 'npm', ['install', '--ignore-scripts', ...aliases]);
  const nodes = versions.flatMap((version) => [
    '--node',
    path.join(project, 'node_modules', `node${version}`, 'bin', 'node'),
  ]);
  const { failed, output } = await run(root, process.execPath, [
    'scripts/check-package.mjs',
    path.join(folder, name),
    ...nodes,
  ]);
  t.log(output);
  t.false(failed);
});

/** What a program of a project prints that inverts the bells. */
function use(project: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  for (const file of ['test/consumer/use.cjs', 'examples/bells.png'])
    copyFileSync(path.join(root, file), path.join(project, path.basename(file)));
  return must(project, process.execPath, ['use.cjs'], env);
}

test.serial('pnpm installs it as docs/install.md says, and the package works', async (t) => {
  const [settings, add] = blocksUnder('docs/install.md', 'With pnpm');
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest;
  const registry = await serveTarball(t, path.join(folder, name), manifest);
  const tools = makeProject('pnpm itself');
  await must(tools, 'npm', ['install', '--ignore-scripts', 'pnpm@12']);
  const pnpm = (project: string): Promise<Outcome> => {
    writeFileSync(path.join(project, '.npmrc'), `registry=${registry}/\n`);
    const args = [...(add?.code.trim().split(' ').slice(1) ?? []), '--store-dir', path.join(folder, 'pnpm store')];
    return run(project, path.join(tools, 'node_modules', '.bin', 'pnpm'), args);
  };
  const told = makeProject('pnpm');
  writeFileSync(path.join(told, 'pnpm-workspace.yaml'), settings?.code ?? '');
  const { failed, output } = await pnpm(told);
  t.false(failed, output);
  t.regex(await use(told, { PREBUILDS_ONLY: '1' }), /bells/);

  const untold = makeProject('pnpm, untold');
  const refused = await pnpm(untold);
  t.true(refused.failed);
  t.regex(refused.output, /ERR_PNPM_IGNORED_BUILDS/);
  t.regex(await use(untold, { PREBUILDS_ONLY: '1' }), /bells/);
});

test.serial('without a prebuilt addon: what is missing is said, and with a compiler it is built', async (t) => {
  await must(folder, 'tar', ['-xzf', name]);
  rmSync(path.join(folder, 'package', 'prebuilds'), { recursive: true });
  makeProject('bare');
  await pack(path.join(folder, 'package'), bare);

  const tools = path.join(folder, 'tools'); // a path without CMake and without a compiler
  mkdirSync(tools);
  symlinkSync(process.execPath, path.join(tools, 'node'));
  symlinkSync('/bin/sh', path.join(tools, 'sh'));
  const npm = await must(root, 'which', ['npm']);
  const refused = await run(bare, npm, ['install', `./${name}`], { PATH: tools });
  t.true(refused.failed);
  t.regex(refused.output, /CMake/);
  t.regex(refused.output, /compiler/);

  await must(bare, 'npm', ['install', `./${name}`, '--ignore-scripts']);
  const load = "try { require('fkinv-native'); } catch ({ name, code, message }) { console.log(name, code, message); }";
  const thrown = await must(bare, process.execPath, ['-e', load]);
  t.regex(thrown, /^FkinvError ADDON_NOT_FOUND /);
  t.regex(thrown, /CMake/);

  // What the message says, which works where npm runs no install scripts.
  await must(bare, process.execPath, ['node_modules/fkinv-native/scripts/install.mjs'], { FKINV_CUDA: '0' });
  t.true(existsSync(path.join(installed, 'build', 'Release', 'fkinv_native.node')));
  t.regex(await use(bare), /bells/);
});

function install(env: NodeJS.ProcessEnv) {
  return runHere(process.execPath, [path.join(installed, 'scripts', 'install.mjs')], env);
}

test.serial('where a prebuilt addon does not load, the install script says why and builds from source', async (t) => {
  // As if nothing had been built there; what was compiled is used again.
  for (const file of ['fkinv_native.node', 'fkinv-sources.sha256'])
    rmSync(path.join(installed, 'build', 'Release', file));
  const [name = ''] = readdirSync(prebuilds);
  const broken = path.join(installed, path.relative(source, prebuilds), name);
  mkdirSync(path.dirname(broken), { recursive: true });
  writeFileSync(broken, readFileSync(path.join(prebuilds, name)).subarray(0, 1000));
  const first = await install({ FKINV_CUDA: '0' });
  t.is(first.code, 0, first.stderr);
  t.regex(first.stdout, /^fkinv-native: builds its addon from source, for a minute or two \(.+\)\n/);
  t.true(first.stdout.includes(name), 'the file that does not load');
  const { code, stdout, stderr } = await install({ FKINV_CUDA: '0' });
  t.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: '' });
  t.is((await invert(installed, {})).stdout.split('\n')[0], (await invert(root, {})).stdout.split('\n')[0]);
});

test.serial('the install script builds it again for other GPUs', async (t) => {
  if (!hasNvcc) return t.pass('no nvcc');
  const built = path.join(installed, 'build', 'Release', 'fkinv_native.node');
  t.is(await architecturesOf(built), '');
  const { code, stdout, stderr } = await install({ FKINV_CUDA: '75' });
  t.is(code, 0, stderr);
  t.regex(stdout, /^fkinv-native: with CUDA for compute capability 7\.5, for some minutes more$/m);
  t.is(await architecturesOf(built), '75');
});
