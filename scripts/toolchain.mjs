// What a build from source needs, what of it a machine lacks, and the commands that install it.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** What a program prints, or undefined where it is not there or fails (macOS has stand-ins for the missing ones). */
function outputOf(program, args, input) {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8', input });
  return status === 0 ? stdout : undefined;
}

function cmakeFault() {
  const version = /version (\d+)\.(\d+)\S*/.exec(outputOf('cmake', ['--version']) ?? '');
  if (version === null) return 'CMake is missing: 3.20 or newer is needed';
  const [, major, minor] = version.map(Number);
  return major > 3 || (major === 3 && minor >= 20) ? '' : `CMake is too old: 3.20 is needed, cmake is ${version[0]}`;
}

function makeFault() {
  const isThere = ['ninja', 'make'].some((program) => outputOf(program, ['--version']) !== undefined);
  return isThere ? '' : 'make (or ninja) is missing';
}

/** What the sources need of C++20, and GCC 10 does not have. */
const cpp20 = '#include <bit>\n#include <span>\nstd::span<int> a; static_assert(std::bit_cast<unsigned>(1) == 1u);\n';

/** cmake-js wants g++ or clang++ on the PATH; what CMake takes is CXX, c++ and those, in this order. */
function compilerFault() {
  const isThere = (program) => outputOf(program, ['--version']) !== undefined;
  if (!isThere('g++') && !isThere('clang++')) return 'a C++20 compiler is missing: GCC 11 or Clang 14, or newer';
  const chosen = process.env.CXX?.trim() || ['c++', 'g++', 'clang++'].find(isThere); // CMake takes an empty CXX for none
  const [compiler, ...flags] = chosen.split(/\s+/);
  if (outputOf(compiler, [...flags, '-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], cpp20) !== undefined) return '';
  const version = outputOf(compiler, ['--version'])?.split('\n')[0] ?? `${compiler}, which does not run`;
  return `the C++ compiler is too old: C++20 of GCC 11 or Clang 14 is needed, CXX or c++ is ${version}`;
}

/** The parts that are missing or too old, with what is wrong; of Visual Studio's compiler cmake-js itself says that. */
export function missingTools() {
  const isWindows = process.platform === 'win32';
  const faults = {
    cmake: cmakeFault(),
    make: isWindows ? '' : makeFault(),
    compiler: isWindows ? '' : compilerFault(),
  };
  return Object.entries(faults).flatMap(([tool, fault]) => (fault === '' ? [] : [{ tool, fault }]));
}

const linux = [
  { ids: ['debian', 'ubuntu'], name: 'Debian, Ubuntu', install: 'apt-get install', compiler: 'g++' },
  { ids: ['fedora', 'rhel'], name: 'Fedora, RHEL', install: 'dnf install', compiler: 'gcc-c++' },
  { ids: ['alpine'], name: 'Alpine', install: 'apk add', compiler: 'g++' },
];
const apple = { cmake: 'brew install cmake', make: 'xcode-select --install', compiler: 'xcode-select --install' };
const windows = {
  cmake: 'winget install Kitware.CMake',
  compiler:
    'winget install Microsoft.VisualStudio.2022.BuildTools --override ' +
    '"--passive --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"',
};

/** The distribution's line of the table above; all of them where it is another. */
function distributions() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const ids = [...release.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)/gm)].flatMap(([, list]) => list.split(' '));
  const known = linux.filter((each) => each.ids.some((id) => ids.includes(id)));
  return known.length > 0 ? known : linux;
}

/** The commands that install tools here: of 'cmake', 'make' and 'compiler'. */
export function installCommands(tools) {
  if (process.platform === 'darwin') return [...new Set(tools.map((tool) => apple[tool]))];
  if (process.platform === 'win32') return tools.filter((tool) => tool in windows).map((tool) => windows[tool]);
  if (tools.length === 0) return [];
  return distributions().map(({ name, install, compiler }) => {
    const packages = tools.map((tool) => (tool === 'compiler' ? compiler : tool));
    return `${install} ${packages.join(' ')}    (${name})`;
  });
}
