// Which GPUs a build is for, and with which nvcc: FKINV_CUDA decides, as CONTRIBUTING.md has it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

/** The compute capabilities that a package's addon is built for. */
export const shipped = ['75', '80', '86', '89', '90', '100', '120'];
const oldestCuda = 13;

/** Only there has onnxruntime-node a CUDA provider, and NVIDIA a toolkit. */
const isLinux64 =
  process.platform === 'linux' &&
  process.arch === 'x64' &&
  process.report.getReport().header.glibcVersionRuntime !== undefined;

const toolkit = 'the CUDA toolkit 13 or newer, https://developer.nvidia.com/cuda-downloads';
const places = 'CUDACXX, CUDA_PATH, CUDA_HOME, the PATH and /usr/local/cuda';

function outputOf(program, args) {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' });
  return status === 0 ? stdout : undefined;
}

/** The path of nvcc, or undefined. What CUDACXX names, as it does for CMake, is it even where that does not run. */
export function findNvcc() {
  const { CUDACXX, CUDA_PATH, CUDA_HOME, PATH = '' } = process.env;
  if (CUDACXX) return CUDACXX;
  const toolkits = [CUDA_PATH, CUDA_HOME].map((folder) => folder && path.join(folder, 'bin'));
  const folders = [...toolkits, ...PATH.split(path.delimiter), '/usr/local/cuda/bin'].filter(Boolean);
  return folders.map((folder) => path.join(folder, 'nvcc')).find((file) => existsSync(file));
}

/** The CUDA that nvcc is of, "13.0", or what is wrong with it. */
export function versionOf(nvcc) {
  if (nvcc === undefined) return { fault: `there is no nvcc, looked for in ${places}: install ${toolkit}` };
  const version = /release ((\d+)\.\d+)/.exec(outputOf(nvcc, ['--version']) ?? '');
  if (version === null) return { fault: `${nvcc} is no nvcc that runs: install ${toolkit}` };
  const [, release, major] = version;
  if (Number(major) >= oldestCuda) return { version: release };
  return { fault: `${nvcc} is of CUDA ${release}, which is too old: install ${toolkit}` };
}

/** Compute capabilities, "8.9" or "89", as CMake is told them: ascending, each once. */
function sorted(capabilities) {
  const numbers = capabilities.map((each) => Number(each.replace('.', '')));
  return [...new Set(numbers)].sort((a, b) => a - b).map(String);
}

/** The compute capabilities of this machine's GPUs. nvidia-smi comes with the driver. */
function gpus() {
  const output = outputOf('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader']) ?? '';
  return sorted(output.split('\n').filter((line) => /^\d+\.\d$/.test(line.trim())));
}

/** The same for people: 8.9. */
export function named(capabilities) {
  return capabilities.map((each) => (Number(each) / 10).toFixed(1)).join(', ');
}

/** What nvcc can compile for, of these: PTX of an older one serves a GPU that nvcc does not know yet. */
function compilable(capabilities, nvcc) {
  const known = sorted([...(outputOf(nvcc, ['--list-gpu-arch']) ?? '').matchAll(/compute_(\d+)\b/g)].map(([, n]) => n));
  const best = capabilities.map((each) => known.filter((one) => Number(one) <= Number(each)).at(-1));
  return sorted(best.filter((each) => each !== undefined));
}

const cpuOnly = { architectures: [] };

/** The build for `wanted`, or why there is none. */
function buildFor(wanted) {
  if (!isLinux64) return { fault: 'CUDA is for Linux on x64, with glibc' };
  const nvcc = findNvcc();
  const { version, fault } = versionOf(nvcc);
  if (fault !== undefined) return { fault };
  const architectures = compilable(wanted, nvcc);
  if (architectures.length > 0) return { architectures, nvcc, version };
  return { fault: `CUDA ${version} knows no GPU of compute capability ${named(wanted)} or lower` };
}

/** What FKINV_CUDA asks for: 'auto', 'none', 'this', or a list of compute capabilities. */
function wish() {
  const value = process.env.FKINV_CUDA?.trim() ?? '';
  if (value === '') return 'auto';
  if (value === '0') return 'none';
  if (value === '1') return 'this';
  return /^\d{1,2}\.?\d(,\d{1,2}\.?\d)*$/.test(value) ? sorted(value.split(',')) : undefined;
}

const notUnderstood = { fault: 'it may be 0, 1, or compute capabilities of GPUs, such as 89 or 80,90' };

/**
 * What the install script builds: { architectures, nvcc, version }, where `architectures` is empty for the CPU only, with
 * a `note` of why where there is a GPU; { fault } where FKINV_CUDA asks for what cannot be.
 */
export function cudaToInstall() {
  const wanted = wish();
  if (wanted === undefined) return notUnderstood;
  if (wanted === 'none') return cpuOnly;
  if (Array.isArray(wanted)) return buildFor(wanted);
  const found = gpus();
  if (wanted === 'this') return buildFor(found.length > 0 ? found : shipped);
  if (found.length === 0 || !isLinux64) return cpuOnly;
  const build = buildFor(found);
  return build.fault === undefined ? build : { ...cpuOnly, note: build.fault };
}

/** What `npm run prebuild` builds, alike: where FKINV_CUDA does not say, all that is shipped, on Linux on x64. */
export function cudaToShip() {
  const wanted = wish();
  if (wanted === undefined) return notUnderstood;
  if (wanted === 'none' || (wanted === 'auto' && !isLinux64)) return cpuOnly;
  const all = Array.isArray(wanted) ? wanted : shipped;
  const build = buildFor(all);
  if (build.fault !== undefined || String(build.architectures) === String(all)) return build;
  return { fault: `CUDA ${build.version} does not build for each of the compute capabilities ${named(all)}` };
}

/** The same for cmake-js, which passes no empty value on. */
export function cmakeOptions({ architectures, nvcc }) {
  const option = `--CDFKINV_CUDA_ARCHITECTURES=${architectures.join(';') || 'OFF'}`;
  return nvcc === undefined ? [option] : [option, `--CDCMAKE_CUDA_COMPILER=${nvcc}`];
}
