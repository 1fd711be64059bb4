// The install script: leaves at once when an addon that loads is there, and builds it with cmake-js otherwise.
// npm runs it again at odd moments (npx from a clone does), so it must be quick and safe to repeat.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cmakeOptions, cudaToInstall, named } from './cuda.mjs';
import { installCommands, missingTools } from './toolchain.mjs';

const require = createRequire(import.meta.url);
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const addon = path.join(root, 'build', 'Release', 'fkinv_native.node');
const stampFile = path.join(root, 'build', 'Release', 'fkinv-sources.sha256');

/**
 * What the addon in build/Release is made from: its sources' content, not their dates, which git does not keep, and the
 * GPUs that it is for.
 */
function stampOf({ architectures, version = '' }) {
  const hash = createHash('sha256').update(`${process.platform}-${process.arch} ${version} ${architectures}\n`);
  const add = (file) => hash.update(path.relative(root, file)).update(readFileSync(file));
  add(path.join(root, 'CMakeLists.txt'));
  for (const folder of ['binding', 'cpp', 'cuda', 'third_party']) {
    const entries = readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
    for (const file of files.sort()) add(file);
  }
  return hash.digest('hex');
}

/** Why the addon does not load, or '' when it does: in a process of its own, one that crashes must not take npm down. */
function loadFault() {
  const firstLine = (message) => message.trim().split('\n')[0];
  let file;
  try {
    file = require('node-gyp-build').path(root);
  } catch ({ message }) {
    return firstLine(message);
  }
  const code = `try { require(${JSON.stringify(file)}) } catch ({ message }) { console.error(message); process.exit(1) }`;
  const { status, signal, stderr } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  if (status === 0) return '';
  const reason = firstLine(stderr) || `the process that loads it ends with ${signal ?? status}`;
  return reason.includes(file) ? reason : `${file}: ${reason}`;
}

function isBuilt(stamp) {
  return existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp && loadFault() === '';
}

/** Why no prebuild is used, or '' when one is. */
function prebuildFault() {
  if (process.env.PREBUILDS_ONLY) return loadFault();
  if (existsSync(addon))
    return 'build/Release, which goes before prebuilds, is of other sources, for other GPUs or does not load';
  if (existsSync(path.join(root, '.git'))) return 'this is a clone, whose prebuilds may be of other sources';
  return loadFault();
}

/** Why nothing can be built here, or '': a package for all users belongs to another than the one who uses it. */
function folderFault() {
  const folder = path.dirname(addon);
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    return '';
  } catch ({ message }) {
    return `the package's folder cannot be written to, which the user who installed it can (${message})`;
  }
}

/** Runs cmake-js; returns why that fails, or ''. */
function cmakeJs(command, options) {
  const program = require.resolve('cmake-js/bin/cmake-js');
  const parallel = ['--parallel', String(availableParallelism())];
  const { status, signal } = spawnSync(process.execPath, [program, command, ...parallel, ...options], {
    cwd: root,
    stdio: 'inherit',
  });
  return status === 0 ? '' : `cmake-js ${command}, whose output is above, ends with ${signal ?? status}`;
}

/** Builds the addon; returns why that fails, or ''. */
function build(stamp, cuda) {
  const isCurrent = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp; // and yet it does not load
  rmSync(stampFile, { force: true });
  const options = cmakeOptions(cuda);
  // A folder that is configured is configured again, for other GPUs perhaps: cmake-js alone would leave it as it is.
  const isConfigured = !isCurrent && cmakeJs('configure', options) === '';
  const fault = cmakeJs(isConfigured ? 'compile' : 'rebuild', options) || loadFault();
  if (fault === '') writeFileSync(stampFile, stamp);
  return fault;
}

/** Ends the script with what is wrong and what installs `tools`. */
function fail(faults, tools) {
  console.error('fkinv-native: there is no native addon for this machine:');
  for (const fault of faults) console.error(`  - ${fault}`);
  if (tools.length > 0) console.error('Install what a build needs, and try again:');
  for (const command of installCommands(tools)) console.error(`  ${command}`);
  process.exit(1);
}

function main() {
  const fault = prebuildFault();
  if (fault === '') return;
  if (process.env.PREBUILDS_ONLY) fail([`PREBUILDS_ONLY is set, and no prebuild loads: ${fault}`], []);
  const cuda = cudaToInstall();
  if (cuda.fault !== undefined) {
    console.error(`fkinv-native: FKINV_CUDA=${process.env.FKINV_CUDA}: ${cuda.fault}`);
    process.exit(1);
  }
  const stamp = stampOf(cuda);
  if (isBuilt(stamp)) return;
  const missing = missingTools();
  if (missing.length > 0)
    fail(
      [fault, ...missing.map((each) => each.fault)],
      missing.map(({ tool }) => tool),
    );
  const unwritable = folderFault();
  if (unwritable !== '') fail([fault, unwritable], []);
  console.log(`fkinv-native: builds its addon from source, for a minute or two (${fault})`);
  if (cuda.note !== undefined) console.log(`fkinv-native: for the CPU only, although there is a GPU: ${cuda.note}`);
  if (cuda.architectures.length > 0)
    console.log(`fkinv-native: with CUDA for compute capability ${named(cuda.architectures)}, for some minutes more`);
  const buildFault = build(stamp, cuda);
  // Every tool is there, but for Visual Studio's compiler, which is not looked for.
  if (buildFault !== '') fail([fault, buildFault], process.platform === 'win32' ? ['compiler'] : []);
}

main();
