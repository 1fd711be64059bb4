// What a stranger meets who has no fitting addon: the install script without its tools, the error of the package itself, and
// what a developer is told of a binary's needs. test/long/prebuild.long.ts makes a prebuild and uses it.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';

const root = path.join(__dirname, '..');
const prebuild = path.join('prebuilds', `${process.platform}-${process.arch}`, 'fkinv-native.node');

/** A copy of the package without an addon, as the tarball is laid out where no prebuild fits. */
function packageCopy(): string {
  const folder = path.join(mkdtempSync(path.join(tmpdir(), 'fkinv-')), 'pâckage of a stranger');
  for (const part of ['package.json', 'CMakeLists.txt', 'scripts', 'binding', 'cpp', 'dist']) {
    cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
  return folder;
}

/** A folder for the PATH with these commands in it, and nothing else. */
function commands(folder: string, scripts: Record<string, string>): string {
  const bin = path.join(folder, 'bin');
  mkdirSync(bin);
  for (const [name, script] of Object.entries(scripts))
    writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return bin;
}

function node(args: string[], cwd: string, env: NodeJS.ProcessEnv = {}): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}

test('without a prebuild and without tools, the install script says what is missing and how to get it', (t) => {
  const folder = packageCopy();
  const { status, output } = node(['scripts/install.mjs'], folder, { PATH: commands(folder, {}), CXX: '' });
  t.is(status, 1);
  const lines = output.trim().split('\n');
  t.is(lines[0], 'fkinv-native: the native addon could not be built.');
  t.is(lines[1], '  It has to be (there is no prebuilt addon here), and that needs');
  t.is(lines[2], '  - CMake 3.20 or newer: there is no cmake in the PATH');
  t.is(lines[3], '  - a C++20 compiler: there is no c++, g++ or clang++ in the PATH');
  t.is(lines[4], '  - make or ninja: neither is in the PATH');
  t.regex(lines[5] ?? '', /^ {2}Install: .*CMake|cmake/);
  t.is(lines.length, 6, 'and nothing else');
});

test('tools that are too old are told from tools that are missing', (t) => {
  const folder = packageCopy();
  const old = {
    cmake: 'echo cmake version 3.18.4',
    make: 'echo GNU Make 4.3',
    'g++': 'if [ "$1" = --version ]; then echo "g++ 8.5.0"; else exit 1; fi',
  };
  const { status, output } = node(['scripts/install.mjs'], folder, { PATH: commands(folder, old), CXX: '' });
  t.is(status, 1);
  t.true(output.includes('- CMake 3.20 or newer: the one in the PATH is 3.18\n'), output);
  t.true(output.includes('- a C++20 compiler: g++ 8.5.0 is too old, or its headers are not installed'), output);
  t.false(output.includes('make or ninja'), output);
});

test('a compiler that CXX names and that is not there is said to be that', (t) => {
  const folder = packageCopy();
  const { output } = node(['scripts/install.mjs'], folder, { PATH: commands(folder, {}), CXX: 'nowhere++' });
  t.true(output.includes('- a C++20 compiler: there is no nowhere++\n'), output);
});

test('a prebuild that does not load: why, before it is built anew', (t) => {
  const folder = packageCopy();
  mkdirSync(path.dirname(path.join(folder, prebuild)), { recursive: true });
  writeFileSync(path.join(folder, prebuild), 'this is no shared library');
  const { status, output } = node(['scripts/install.mjs'], folder, { PATH: commands(folder, {}) });
  t.is(status, 1);
  t.regex(output, /It has to be \(no prebuilt addon fits: .*fkinv-native\.node: .+\), and that needs\n/);
});

test('a build that fails ends with what failed, below the compiler’s own words', (t) => {
  const folder = packageCopy();
  writeFileSync(path.join(folder, 'cpp', 'engine.cpp'), 'this is no C++\n');
  const { status, output } = node(['scripts/install.mjs'], folder);
  t.is(status, 1);
  t.regex(output, /engine\.cpp/);
  t.regex(output, /the native addon could not be built\.\n {2}Why it has to be: there is no prebuilt addon here\n/);
});

const caught = `
  try { require('./dist'); } catch (error) { console.log(error.name, error.code, error.message); }`;

test('the package without an addon throws ADDON_NOT_FOUND and says how to build one', (t) => {
  const { status, output } = node(['-e', caught], packageCopy());
  t.is(status, 0);
  t.regex(output, /^FkinvError ADDON_NOT_FOUND there is no native addon for \w+-\w+: .*npm rebuild fkinv-native/);
});

test('an addon that does not load is named, with the loader’s reason', (t) => {
  const folder = packageCopy();
  const file = path.join(folder, prebuild);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, 'this is no shared library');
  const { status, output } = node(['-e', caught], folder);
  t.is(status, 0);
  t.true(output.startsWith(`FkinvError ADDON_NOT_FOUND the native addon ${file} does not load`), output);
  t.regex(output, /invalid ELF header|file too short|not a mach-o|slice is not valid/i);
});

const addon = path.join(root, 'build', 'Release', 'fkinv_native.node');
const onLinux = (title: string, body: (t: ExecutionContext) => void): void => {
  if (process.platform === 'linux') test(title, body);
  else test.skip(`${title}: only Linux has a glibc`, body);
};

onLinux('scripts/glibc.mjs says what a binary needs, and fails on what may not be shipped', (t) => {
  const { status, output } = node(['scripts/glibc.mjs', addon], root);
  t.is(status, 1, 'a developer’s build has the machine’s libstdc++');
  t.regex(output, /needs (glibc [\d.]+ or newer \(\w+.*\)|musl); opens .*libstdc\+\+/);
  t.regex(output, /error: .* needs libstdc\+\+\.so\.6, libgcc_s\.so\.1 of the machine: link them statically/);
});

onLinux('--at-most refuses a newer glibc', (t) => {
  const ofNode = path.join(root, 'node_modules', 'onnxruntime-node', 'bin', 'napi-v6', 'linux', process.arch);
  const library = path.join(ofNode, 'libonnxruntime.so.1'); // a binary whose need is known: 2.28 in its symbols
  t.regex(
    node(['scripts/glibc.mjs', '--at-most', '2.27', library], root).output,
    /error: .* needs glibc 2\.28, at most 2\.27 is allowed/,
  );
  t.notRegex(node(['scripts/glibc.mjs', '--at-most', '2.28', library], root).output, /at most/);
});

test('scripts/glibc.mjs on a binary of another system, and on none', (t) => {
  const folder = packageCopy();
  const none = node(['scripts/glibc.mjs'], folder);
  t.is(none.status, 1);
  t.is(none.output, 'error: there is no prebuilt addon: npm run prebuild\n');
  mkdirSync(path.join(folder, 'prebuilds', 'win32-x64'), { recursive: true });
  writeFileSync(path.join(folder, 'prebuilds', 'win32-x64', 'fkinv-native.node'), 'MZ');
  const other = node(['scripts/glibc.mjs'], folder);
  t.is(other.status, 0);
  t.regex(other.output, /win32-x64.*: not of Linux, nothing to check/);
});
