// What building the addon needs of a machine, what of it is missing here, and how that is installed.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** What `command` prints, or undefined where there is no such command. */
function outputOf(command, args, input) {
  const { status, stdout } = spawnSync(command, args, { input, encoding: 'utf8' });
  return status === 0 ? stdout : undefined;
}

function cmakeFault() {
  const version = /version (\d+)\.(\d+)/.exec(outputOf('cmake', ['--version']) ?? '');
  if (version === null) return 'CMake 3.20 or newer: there is no cmake in the PATH';
  const [, major, minor] = version.map(Number);
  if (major > 3 || (major === 3 && minor >= 20)) return undefined;
  return `CMake 3.20 or newer: the one in the PATH is ${major}.${minor}`;
}

/** The compiler that CMake takes: CXX, or the first that is there. */
function compilerFault() {
  const given = process.env.CXX;
  const compiler = (given ? [given] : ['c++', 'g++', 'clang++']).find(
    (name) => outputOf(name, ['--version']) !== undefined,
  );
  if (compiler === undefined) return `a C++20 compiler: there is no ${given || 'c++, g++ or clang++ in the PATH'}`;
  const code =
    '#include <bit>\n#include <span>\nint main() { return std::popcount(0u) + int(std::span<int>().size()); }\n';
  if (outputOf(compiler, ['-std=c++20', '-x', 'c++', '-fsyntax-only', '-'], code) !== undefined) return undefined;
  const version = outputOf(compiler, ['--version'])?.split('\n').at(0) ?? compiler;
  return `a C++20 compiler: ${version} is too old, or its headers are not installed (GCC 11 and Clang 14 are new enough)`;
}

function makeFault() {
  const isThere = ['ninja', 'make'].some((name) => outputOf(name, ['--version']) !== undefined);
  return isThere ? undefined : 'make or ninja: neither is in the PATH';
}

/** What is missing, a line each. On Windows cmake-js finds Visual Studio itself, and says what it found. */
export function missingTools() {
  const checks = process.platform === 'win32' ? [cmakeFault] : [cmakeFault, compilerFault, makeFault];
  return checks.map((fault) => fault()).filter((fault) => fault !== undefined);
}

const byDistribution = {
  debian: 'apt-get install cmake make g++',
  fedora: 'dnf install cmake make gcc-c++',
  rhel: 'dnf install cmake make gcc-c++',
  alpine: 'apk add cmake make g++',
  arch: 'pacman -S cmake make gcc',
  suse: 'zypper install cmake make gcc-c++',
};

/** The command that installs all of it here. */
export function howToInstall() {
  if (process.platform === 'darwin') return 'xcode-select --install, and CMake (brew install cmake)';
  if (process.platform === 'win32')
    return 'Visual Studio Build Tools with “Desktop development with C++”, which has CMake';
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const names = [...release.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)/gm)].flatMap(([, value]) => value.split(' '));
  const known = names.find((name) => name in byDistribution);
  return known ? byDistribution[known] : 'CMake, make and g++, from your system’s packages';
}
