// What a stranger's npm install meets: copies of the package, with and without an addon, tools and compilers.
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { needs } from '../helpers/needs';

const root = path.join(__dirname, '..', '..');
const addon = path.join(root, 'build', 'Release', 'fkinv_native.node');
const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
const onGlibc = needs(glibcVersionRuntime !== undefined, 'glibc');
const onPosix = needs(process.platform !== 'win32', 'a POSIX system');
const isDebian = existsSync('/etc/debian_version');
const prebuild = `fkinv-native${process.platform === 'linux' ? (glibcVersionRuntime ? '.glibc' : '.musl') : ''}.node`;

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

function run(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = {
      env: { ...process.env, CXX: undefined, FKINV_CUDA: undefined, ...env },
      cwd: tmpdir(),
      timeout: 60_000,
    };
    const child = execFile(process.execPath, args, options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

function temporary(t: ExecutionContext): string {
  const folder = mkdtempSync(path.join(realpathSync(tmpdir()), 'fkinv-prebuild-')); // a link on macOS
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

/** A copy of the package as npm unpacks it, without an addon, or with a prebuilt one made by `write`. */
function packageCopy(t: ExecutionContext, write?: (file: string) => void): string {
  const folder = temporary(t);
  for (const name of ['package.json', 'CMakeLists.txt', 'binding', 'cpp', 'cuda', 'third_party', 'dist', 'scripts'])
    cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'), 'junction');
  const prebuilds = path.join(folder, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(prebuilds, { recursive: true });
  write?.(path.join(prebuilds, prebuild));
  return folder;
}

/** A folder for PATH with the machine's own tools less those that are `missing`, and stand-ins that only tell a version. */
function tools(t: ExecutionContext, missing: readonly string[], versions: Record<string, string> = {}): string {
  const folder = temporary(t);
  for (const name of ['cmake', 'ninja', 'make', 'c++', 'g++', 'clang++']) {
    const places = (process.env['PATH'] ?? '').split(path.delimiter).map((place) => path.join(place, name));
    const real = places.find((place) => existsSync(place));
    if (name in versions) writeFileSync(path.join(folder, name), standIn(versions[name] ?? ''), { mode: 0o755 });
    else if (real !== undefined && !missing.includes(name)) symlinkSync(real, path.join(folder, name));
  }
  return folder;
}

function standIn(version: string): string {
  return `#!/bin/sh\n[ "$1" = --version ] && echo '${version}'\n`;
}

/** An nvcc of a CUDA release, and an nvidia-smi of a machine with these GPUs: what they answer to the install script. */
function cudaTools(t: ExecutionContext, release: string, capabilities: readonly string[]): NodeJS.ProcessEnv {
  const folder = tools(t, [], { cmake: 'cmake version 3.20.0' }); // which builds nothing
  const answers = {
    nvcc: `--version) echo 'Cuda compilation tools, release ${release}, V${release}.88' ;;
      --list-gpu-arch) echo compute_75; echo compute_80; echo compute_89; echo compute_90; echo compute_120 ;;`,
    'nvidia-smi': `--query-gpu=compute_cap) ${capabilities.map((each) => `echo ${each};`).join(' ')}\n;;`,
  };
  for (const [name, cases] of Object.entries(answers))
    writeFileSync(path.join(folder, name), `#!/bin/sh\ncase "$1" in ${cases} esac\n`, { mode: 0o755 });
  return { PATH: folder, CUDACXX: path.join(folder, 'nvcc') };
}

/** The addon, asking for a glibc that there will not be soon. */
function writeTooNew(file: string): void {
  writeFileSync(file, readFileSync(addon, 'latin1').replace(/GLIBC_2\.\d\d(?=\0)/g, 'GLIBC_9.99'), 'latin1');
}

function install(folder: string, PATH: string): Promise<Ended> {
  return run([path.join(folder, 'scripts', 'install.mjs')], { PATH });
}

test('a prebuilt addon that loads: the install script is silent, and needs no tool', async (t) => {
  const folder = packageCopy(t, (file) => {
    copyFileSync(addon, file);
  });
  t.deepEqual(await install(folder, ''), { code: 0, stdout: '', stderr: '' });
  const use = `require(${JSON.stringify(folder)}); console.log(Object.keys(require.cache).find((it) => /fkinv.native[^/]*node$/.test(it)))`;
  const { stdout, stderr } = await run(['-e', use], { PREBUILDS_ONLY: '1' });
  t.regex(stdout, /prebuilds.*fkinv-native/);
  t.is(stderr, '');
});

const compilers = ['c++', 'g++', 'clang++'];
const makers = ['make', 'ninja'];
const noCmake = 'CMake is missing: 3.20 or newer is needed';
const noMake = 'make (or ninja) is missing';
const noCompiler = 'a C++20 compiler is missing: GCC 11 or Clang 14, or newer';
const oldCmake = 'CMake is too old: 3.20 is needed, cmake is version 3.16.3';
const oldCompiler = 'the C++ compiler is too old: C++20 of GCC 11 or Clang 14 is needed, CXX or c++ is c++ (GCC) 8.5.0';
for (const [title, missing, versions, faults, packages] of [
  ['nothing', ['cmake', ...makers, ...compilers], {}, [noCmake, noMake, noCompiler], 'cmake make g++'],
  ['no CMake', ['cmake'], {}, [noCmake], 'cmake'],
  ['an old CMake', [], { cmake: 'cmake version 3.16.3' }, [oldCmake], 'cmake'],
  ['no make', makers, {}, [noMake], 'make'],
  ['no compiler', compilers, {}, [noCompiler], 'g++'],
  ['an old compiler', [], { 'c++': 'c++ (GCC) 8.5.0' }, [oldCompiler], 'g++'],
] as const) {
  onPosix(`a build with ${title}: what is missing, and the command that installs it`, async (t) => {
    const { code, stdout, stderr } = await install(packageCopy(t), tools(t, missing, versions));
    t.deepEqual({ code, stdout }, { code: 1, stdout: '' });
    const [first, none, ...rest] = stderr.split('\n');
    t.is(first, 'fkinv-native: there is no native addon for this machine:');
    t.regex(none ?? '', /^ {2}- No native build was found for platform=/);
    const advice = 'Install what a build needs, and try again:';
    t.deepEqual(rest.slice(0, faults.length + 1), [...faults.map((fault) => `  - ${fault}`), advice]);
    const commands = rest.slice(faults.length + 1);
    if (isDebian) t.deepEqual(commands, [`  apt-get install ${packages}    (Debian, Ubuntu)`, '']);
    else t.not(commands.length, 0);
  });
}

onPosix('an empty CXX is none, as it is to CMake', async (t) => {
  const env = { PATH: tools(t, makers), CXX: '' };
  const { stderr } = await run([path.join(packageCopy(t), 'scripts', 'install.mjs')], env);
  t.true(stderr.includes(`\n  - ${noMake}\nInstall what a build needs`), stderr);
});

test('a package folder that cannot be written to', async (t) => {
  const folder = packageCopy(t);
  writeFileSync(path.join(folder, 'build'), 'in the way');
  const { code, stdout, stderr } = await run([path.join(folder, 'scripts', 'install.mjs')]);
  t.deepEqual({ code, stdout }, { code: 1, stdout: '' });
  t.regex(stderr, /\n {2}- the package's folder cannot be written to, .+ \(E\w+: .+\)\n$/);
});

onGlibc(
  'a prebuilt addon for a newer glibc: the reason is said, by the install script and by the library',
  async (t) => {
    const folder = packageCopy(t, writeTooNew);
    const { code, stderr } = await install(folder, '');
    t.is(code, 1);
    t.regex(stderr, /^ {2}- .*version `GLIBC_9\.99' not found \(required by .*fkinv-native\.glibc\.node\)$/m);
    t.regex(stderr, /CMake is missing/);

    const { stdout } = await load(folder);
    t.regex(
      stdout,
      /^ADDON_NOT_FOUND the native addon \/.*fkinv-native\.glibc\.node needs glibc 9\.99, and this machine/,
    );
    t.true(
      stdout.includes(`has ${glibcVersionRuntime}: build one with node "${folder}/scripts/install.mjs", CMake`),
      stdout,
    );
  },
);

test('a prebuilt addon that is no library: the file and the loader’s message', async (t) => {
  const folder = packageCopy(t, (file) => {
    writeFileSync(file, 'not a library');
  });
  const { stderr } = await install(folder, '');
  t.regex(stderr, /^ {2}- \/.*fkinv-native[^/]*\.node: .+$/m);
  const { stdout } = await load(folder);
  t.regex(
    stdout,
    /^ADDON_NOT_FOUND the native addon \/.*fkinv-native.*\.node does not load \(.+\): build one with node/,
  );
});

test('no addon at all: the platform, and what builds one', async (t) => {
  const folder = packageCopy(t);
  const { stdout } = await load(folder);
  t.true(
    stdout.startsWith(
      `ADDON_NOT_FOUND there is no native addon for ${process.platform}-${process.arch}: no prebuilt one fits, and none ` +
        'was built (npm ran without install scripts, or could not build): build one with node ' +
        `"${path.join(folder, 'scripts', 'install.mjs')}", CMake 3.20, make and a C++20 compiler`,
    ),
    stdout,
  );
});

const onCuda = needs(
  process.platform === 'linux' && process.arch === 'x64' && glibcVersionRuntime !== undefined,
  'Linux on x64 with glibc, where CUDA is',
);
const tooOld = /nvcc is of CUDA 12\.9, which is too old: install the CUDA toolkit 13 or newer, https:\/\//;
const unknown = /^CUDA 13\.0 knows no GPU of compute capability 6\.1 or lower$/;
const malformed = /^it may be 0, 1, or compute capabilities of GPUs, such as 89 or 80,90$/;
const shipped = ['75', '80', '89', '90', '120']; // of those that the stand-in of nvcc knows: 86 becomes 80, 100 becomes 90
for (const [title, FKINV_CUDA, release, capabilities, architectures, told] of [
  ['no GPU', undefined, '13.0', [], []],
  ['a GPU', undefined, '13.0', ['8.9'], ['89']],
  ['several GPUs', '', '13.0', ['12.0', '7.5', '12.0'], ['75', '120']],
  ['a GPU younger than nvcc', undefined, '13.0', ['13.0'], ['120']],
  ['a GPU older than CUDA 13', undefined, '13.0', ['6.1'], [], { note: unknown }],
  ['a GPU, an nvcc too old', undefined, '12.9', ['8.9'], [], { note: tooOld }],
  ['FKINV_CUDA=0, a GPU', '0', '13.0', ['8.9'], []],
  ['FKINV_CUDA=1, a GPU', '1', '13.0', ['9.0'], ['90']],
  ['FKINV_CUDA=1, no GPU', '1', '13.0', [], shipped],
  ['FKINV_CUDA=1, an nvcc too old', '1', '12.9', ['8.9'], undefined, { fault: tooOld }],
  ['FKINV_CUDA=1, a GPU older than CUDA 13', '1', '13.0', ['6.1'], undefined, { fault: unknown }],
  ['a list in FKINV_CUDA', '9.0,80', '13.0', ['8.9'], ['80', '90']],
  ['FKINV_CUDA=yes', 'yes', '13.0', ['8.9'], undefined, { fault: malformed }],
] as const) {
  onCuda(`what is built with CUDA: ${title}`, async (t) => {
    const script = pathToFileURL(path.join(root, 'scripts', 'cuda.mjs')).href;
    const code = `import('${script}').then((cuda) => console.log(JSON.stringify(cuda.cudaToInstall())))`;
    const env = cudaTools(t, release, capabilities);
    const { stdout, stderr } = await run(['-e', code], { ...env, FKINV_CUDA });
    t.is(stderr, '');
    const build = JSON.parse(stdout) as { architectures?: string[]; nvcc?: string; note?: string; fault?: string };
    t.deepEqual(build.architectures, architectures?.slice());
    t.is(build.nvcc, architectures?.length ? env['CUDACXX'] : undefined);
    for (const name of ['note', 'fault'] as const) {
      const expected: RegExp | undefined = (told as Record<string, RegExp> | undefined)?.[name];
      if (expected === undefined) t.is(build[name], undefined);
      else t.regex(build[name] ?? '', expected);
    }
  });
}

onCuda('a GPU without an nvcc that runs: the install script builds for the CPU, and says so', async (t) => {
  const { PATH } = cudaTools(t, '', ['8.9']);
  const script = path.join(packageCopy(t), 'scripts', 'install.mjs');
  const { code, stdout } = await run([script], { PATH, CUDACXX: '/nowhere/nvcc' });
  t.is(code, 1);
  t.regex(
    stdout,
    /^fkinv-native: for the CPU only, although there is a GPU: \/nowhere\/nvcc is no nvcc that runs: .+$/m,
  );
});

onCuda('FKINV_CUDA=1 without an nvcc that runs: the install script and npm run prebuild say what to do', async (t) => {
  const env = { FKINV_CUDA: '1', CUDACXX: '/nowhere/nvcc' };
  const said = '/nowhere/nvcc is no nvcc that runs: install the CUDA toolkit 13 or newer';
  const url = 'https://developer.nvidia.com/cuda-downloads';
  const installed = await run([path.join(packageCopy(t), 'scripts', 'install.mjs')], env);
  t.deepEqual(installed, { code: 1, stdout: '', stderr: `fkinv-native: FKINV_CUDA=1: ${said}, ${url}\n` });
  const shipped = await run([path.join(root, 'scripts', 'prebuild-cmake.mjs')], { ...env, FKINV_CUDA: undefined });
  const advice = 'FKINV_CUDA=0 builds for the CPU only.';
  t.deepEqual(shipped, { code: 1, stdout: '', stderr: `npm run prebuild: ${said}, ${url}. ${advice}\n` });
});

onCuda('npm run prebuild leaves out no GPU that a package is for', async (t) => {
  const { code, stderr } = await run([path.join(root, 'scripts', 'prebuild-cmake.mjs')], cudaTools(t, '14.0', []));
  t.is(code, 1);
  const all = '7.5, 8.0, 8.6, 8.9, 9.0, 10.0, 12.0';
  t.true(stderr.startsWith(`npm run prebuild: CUDA 14.0 does not build for each of the compute capabilities ${all}. `));
});

/** Requires the package of a folder, which throws. */
function load(folder: string): Promise<Ended> {
  const use = `try { require(${JSON.stringify(folder)}); } catch ({ code, message }) { console.log(code, message); }`;
  return run(['-e', use]);
}

onGlibc('glibc.mjs finds what keeps an ordinary build from being a prebuild', async (t) => {
  const script = path.join(root, 'scripts', 'glibc.mjs');
  const { code, stdout, stderr } = await run([script, '--at-most', '2.5', addon]);
  t.is(code, 1);
  t.regex(stdout, /fkinv_native\.node: \d\.\d\d MB\n {2}glibc 2\.\d+ or newer, for \w+/);
  t.regex(stderr, /FAULT: it needs glibc 2\.\d+, and may need 2\.5 at most: build it on an older distribution/);
  t.regex(stderr, /FAULT: it needs libstdc\+\+\.so\.6, which belongs inside/);
  t.regex(stderr, /FAULT: it has debug symbols/);
});
