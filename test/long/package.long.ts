// The packed tarball as a stranger meets it (scripts/check-package.mjs) on each Node that is supported, and where no
// prebuilt addon fits: `npm install fkinv-native`, of a tarball in place of the registry. Needs the registry for the rest.
import { execFile, type ExecFileException } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { hasNvcc } from '../cuda/toolkit';
import { blocksUnder } from '../helpers/documents';
import { serveTarball, type Manifest } from '../helpers/registry';

const root = path.join(__dirname, '..', '..');
const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-package-'));
const name = 'fkinv-native.tgz';

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

test.before(async () => {
  await must(root, 'npm', ['run', 'prebuild'], { FKINV_CUDA: hasNvcc ? undefined : '0' });
  await must(root, 'npm', ['run', 'prepare']);
  await pack(root, folder);
});

test.after.always(() => rmSync(folder, { recursive: true, force: true }));

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
  const works = (project: string): Promise<string> => {
    for (const file of ['test/consumer/use.cjs', 'examples/bells.png'])
      copyFileSync(path.join(root, file), path.join(project, path.basename(file)));
    return must(project, process.execPath, ['use.cjs'], { PREBUILDS_ONLY: '1' });
  };
  const told = makeProject('pnpm');
  writeFileSync(path.join(told, 'pnpm-workspace.yaml'), settings?.code ?? '');
  const { failed, output } = await pnpm(told);
  t.false(failed, output);
  t.regex(await works(told), /bells/);

  const untold = makeProject('pnpm, untold');
  const refused = await pnpm(untold);
  t.true(refused.failed);
  t.regex(refused.output, /ERR_PNPM_IGNORED_BUILDS/);
  t.regex(await works(untold), /bells/);
});

test.serial('without a prebuilt addon: what is missing is said, and with a compiler it is built', async (t) => {
  await must(folder, 'tar', ['-xzf', name]);
  rmSync(path.join(folder, 'package', 'prebuilds'), { recursive: true });
  const project = makeProject('bare');
  await pack(path.join(folder, 'package'), project);

  const tools = path.join(folder, 'tools'); // a path without CMake and without a compiler
  mkdirSync(tools);
  symlinkSync(process.execPath, path.join(tools, 'node'));
  symlinkSync('/bin/sh', path.join(tools, 'sh'));
  const npm = await must(root, 'which', ['npm']);
  const bare = await run(project, npm, ['install', `./${name}`], { PATH: tools });
  t.true(bare.failed);
  t.regex(bare.output, /CMake/);
  t.regex(bare.output, /compiler/);

  await must(project, 'npm', ['install', `./${name}`, '--ignore-scripts']);
  const load = "try { require('fkinv-native'); } catch ({ name, code, message }) { console.log(name, code, message); }";
  const thrown = await must(project, process.execPath, ['-e', load]);
  t.regex(thrown, /^FkinvError ADDON_NOT_FOUND /);
  t.regex(thrown, /CMake/);

  // What the message says, which works where npm runs no install scripts.
  await must(project, process.execPath, ['node_modules/fkinv-native/scripts/install.mjs']);
  t.true(existsSync(path.join(project, 'node_modules', 'fkinv-native', 'build', 'Release', 'fkinv_native.node')));
  for (const file of ['test/consumer/use.cjs', 'examples/bells.png'])
    copyFileSync(path.join(root, file), path.join(project, path.basename(file)));
  t.regex(await must(project, process.execPath, ['use.cjs']), /bells/);
});
