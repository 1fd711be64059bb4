// The install script: leaves at once when an addon that loads is there, and builds it with cmake-js otherwise.
// npm runs it again at odd moments (npx from a clone does), so it must be quick and safe to repeat.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

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
  const load = `require(${JSON.stringify(require.resolve('node-gyp-build'))})(${JSON.stringify(root)})`;
  const options = { env: { ...process.env, ...env }, encoding: 'utf8' };
  const { status, signal, stderr } = spawnSync(process.execPath, ['-e', load], options);
  return status === 0 ? '' : `${stderr || `it ended with ${signal ?? status}`}`;
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
  if (fault !== '') throw new Error(`the addon was built, and Node cannot load it: ${fault}`);
  writeFileSync(stampFile, stamp);
}

function isUpToDate(stamp) {
  const isBuilt = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
  if (isBuilt) return loadFault() === '';
  const isStale = existsSync(path.join(root, 'build', 'Release', 'fkinv_native.node'));
  return !isStale && existsSync(path.join(root, 'prebuilds')) && loadFault({ PREBUILDS_ONLY: '1' }) === '';
}

const stamp = stampOfSources();
if (!isUpToDate(stamp)) {
  try {
    build(stamp);
  } catch (error) {
    console.error(
      `fkinv-native: no prebuilt addon fits this machine, and building one failed: ${error.message}\n` +
        'It needs CMake 3.20 or newer, make or ninja, and a C++20 compiler: on Debian, apt-get install cmake make g++; ' +
        'on macOS, xcode-select --install and CMake.',
    );
    process.exit(1);
  }
}
