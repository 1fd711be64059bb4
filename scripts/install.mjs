// The install script: leaves at once when an addon that loads is there, and builds it with cmake-js otherwise.
// npm runs it again at odd moments (npx from a clone does), so it must be quick and safe to repeat.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { howToInstall, missingTools } from './toolchain.mjs';

const require = createRequire(import.meta.url);
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const stampFile = path.join(root, 'build', 'Release', 'fkinv-sources.sha256');

/** What the addon in build/Release is made from: its sources' content, not their dates, which git does not keep. */
function stampOfSources() {
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}\n`);
  const add = (file) => hash.update(path.relative(root, file)).update(readFileSync(file));
  add(path.join(root, 'CMakeLists.txt'));
  for (const folder of ['binding', 'cpp']) {
    const entries = readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
    for (const file of files.sort()) add(file);
  }
  return hash.digest('hex');
}

/** Why the addon does not load, or '' when it does: in a process of its own, one that crashes must not take npm down. */
function loadFault(env = {}) {
  const load = `
    try { require(${JSON.stringify(require.resolve('node-gyp-build'))})(${JSON.stringify(root)}); }
    catch (error) { console.error(error.message); process.exit(1); }`;
  const options = { env: { ...process.env, ...env }, encoding: 'utf8' };
  const { status, signal, stderr } = spawnSync(process.execPath, ['-e', load], options);
  return status === 0 ? '' : stderr.trim().split('\n').at(0) || `it ended with ${signal ?? status}`;
}

function compile(command) {
  const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
  const parallel = String(availableParallelism());
  execFileSync(process.execPath, [cmakeJs, command, '--parallel', parallel], { cwd: root, stdio: 'inherit' });
}

function build(stamp) {
  const isCurrent = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp; // and yet it does not load
  rmSync(stampFile, { force: true });
  compile(isCurrent ? 'rebuild' : 'compile');
  const fault = loadFault();
  if (fault !== '') throw new Error(`Node cannot load what was built: ${fault}`);
  writeFileSync(stampFile, stamp);
}

const isBuilt = () => existsSync(path.join(root, 'build', 'Release', 'fkinv_native.node'));
const hasPrebuilds = () => existsSync(path.join(root, 'prebuilds'));

function isUpToDate(stamp) {
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return loadFault() === '';
  return !isBuilt() && hasPrebuilds() && loadFault({ PREBUILDS_ONLY: '1' }) === '';
}

/** Why an addon has to be built here. */
function reason() {
  if (isBuilt()) return 'the sources of the addon have changed';
  if (!hasPrebuilds()) return 'there is no prebuilt addon here';
  return `no prebuilt addon fits: ${loadFault({ PREBUILDS_ONLY: '1' })}`;
}

function fail(...lines) {
  console.error(['fkinv-native: the native addon could not be built.', ...lines].join('\n  '));
  process.exit(1);
}

const stamp = stampOfSources();
if (!isUpToDate(stamp)) {
  const why = reason();
  const missing = missingTools();
  if (missing.length > 0) {
    fail(`It has to be (${why}), and that needs`, ...missing.map((tool) => `- ${tool}`), `Install: ${howToInstall()}`);
  }
  try {
    build(stamp);
  } catch (error) {
    fail(`Why it has to be: ${why}`, `What failed: ${error.message}`, 'What the compiler said is above.');
  }
}
