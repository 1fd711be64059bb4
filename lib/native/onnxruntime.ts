import { existsSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { familySync, MUSL } from 'detect-libc';
import { environment } from '../util/environment';
import { FkinvError } from '../errors';

/** The file name of ONNX Runtime's library in `onnxruntime-node`, for each platform that the package has one for. */
const shipped: Record<string, string> = {
  'linux-x64': 'libonnxruntime.so.1',
  'linux-arm64': 'libonnxruntime.so.1',
  'darwin-arm64': 'libonnxruntime.1.dylib',
  'win32-x64': 'onnxruntime.dll',
  'win32-arm64': 'onnxruntime.dll',
};

/**
 * Where a platform's ONNX Runtime lies in the package `onnxruntime-node`; `libc` is the C library's family on Linux, as
 * detect-libc names it. Throws `ORT_NOT_FOUND`, which says where to get one, for a platform that the package has none for.
 */
export function shippedOnnxRuntime(platform: string, arch: string, libc: string | null): string {
  const isMusl = platform === 'linux' && libc === MUSL;
  const name = isMusl ? undefined : shipped[`${platform}-${arch}`];
  if (name !== undefined) return path.join('bin', 'napi-v6', platform, arch, name);
  const target = `${platform}-${arch}${isMusl ? ' with musl' : ''}`;
  const source = isMusl
    ? 'install one (Alpine has a package, apk add onnxruntime)'
    : platform === 'darwin'
      ? 'install one (Homebrew has a formula, brew install onnxruntime)'
      : 'build one';
  throw new FkinvError(
    'ORT_NOT_FOUND',
    `onnxruntime-node@1.29.0 has no ONNX Runtime for ${target}: ${source}, ` +
      'and name its libonnxruntime, of version 1.29 or a later 1.x, in FKINV_ONNXRUNTIME',
  );
}

/**
 * Path of the libonnxruntime that engines run on: the very file that the pinned `onnxruntime-node` opens, so that a process
 * with both has it once. Throws `ORT_NOT_FOUND`.
 */
export function findOnnxRuntime(): string {
  const given = environment.onnxruntime;
  if (given !== undefined) {
    if (existsSync(given)) return path.resolve(given);
    throw new FkinvError('ORT_NOT_FOUND', `FKINV_ONNXRUNTIME names ${given}, and there is no such file`);
  }
  const file = shippedOnnxRuntime(process.platform, process.arch, familySync());
  let root: string;
  try {
    root = path.dirname(require.resolve('onnxruntime-node/package.json'));
  } catch (cause) {
    throw new FkinvError('ORT_NOT_FOUND', 'onnxruntime-node is not installed: npm install onnxruntime-node@1.29.0', {
      cause,
    });
  }
  const library = path.join(root, file);
  if (existsSync(library)) return library;
  throw new FkinvError(
    'ORT_NOT_FOUND',
    `${library} is missing: install onnxruntime-node@1.29.0 again, or name a libonnxruntime in FKINV_ONNXRUNTIME`,
  );
}

/** An `onnxruntime-node` of another release than ours, which other packages of the application use. */
export interface OtherOnnxRuntime {
  version: string;
  /** Folder of its package. */
  folder: string;
}

/**
 * The other releases of `onnxruntime-node` that the working directory finds, by itself and through `@huggingface/transformers`:
 * those that are likely to come into a process beside the library `own`.
 */
export function otherOnnxRuntimes(own: string): OtherOnnxRuntime[] {
  const others = new Map<string, OtherOnnxRuntime>();
  for (const folder of usersOfOnnxRuntime()) {
    try {
      const file = require.resolve('onnxruntime-node/package.json', { paths: [folder] });
      const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
      const root = path.dirname(realpathSync(file));
      if (!realpathSync(own).startsWith(root + path.sep)) others.set(root, { version, folder: root });
    } catch {
      // This folder finds none.
    }
  }
  return [...others.values()];
}

function usersOfOnnxRuntime(): string[] {
  const folders = lookedFrom();
  try {
    return [...folders, path.dirname(require.resolve('@huggingface/transformers', { paths: folders }))];
  } catch {
    return folders; // it is not installed
  }
}

/**
 * Says whether one process can have both our ONNX Runtime and another release: only Windows, which finds libraries by name
 * alone, limits it.
 */
export function besideOnnxRuntime({ version, folder }: OtherOnnxRuntime, platform = process.platform): string {
  const other = `onnxruntime-node ${version} in ${folder}`;
  if (platform !== 'win32') return `${other} can be in the same process`;
  const library = path.join(folder, shippedOnnxRuntime(platform, process.arch, null));
  return (
    `${other} fails in a process that has loaded an Inverter before it: Windows gives it our onnxruntime.dll. Import it ` +
    `first, or have FKINV_ONNXRUNTIME name ${library} for both`
  );
}

/** The libraries of ONNX Runtime's CUDA provider. */
export const providerLibraries = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];
const providerPackage = 'com.github.asus4.onnxruntime.linux-x64-gpu';
const install =
  `npm install ${providerPackage}@0.4.9 (for CUDA 13), or have onnxruntime-node fetch its own (for CUDA 12): ` +
  'node node_modules/onnxruntime-node/script/install.js';

/** ONNX Runtime's CUDA provider: the folder of its two libraries, and whether that is ONNX Runtime's own folder. */
export interface CudaProvider {
  folder: string;
  isBeside: boolean;
  /**
   * Compute capabilities that it has machine code for, `75, 80`, where that is known: then it has none that a driver could
   * compile for others.
   */
  architectures?: string;
}

/** The compute capabilities that the package's library, release 0.4.9, has machine code for; it has no PTX. */
const packagedArchitectures = '75, 80, 86, 89, 90, 120';

/**
 * The CUDA provider for the ONNX Runtime `library`: beside it, or in the npm package that has it, where this package or the
 * working directory finds that. Throws `CUDA_UNAVAILABLE`, which says where it was looked for and how to install it.
 */
export function findCudaProvider(library: string): CudaProvider {
  const found = findInstalledProvider(library);
  if (found !== undefined) return found;
  throw new FkinvError(
    'CUDA_UNAVAILABLE',
    `ONNX Runtime’s CUDA provider is missing: ${providerLibraries.join(' and ')} are neither in ${path.dirname(library)} nor in a package ` +
      `${providerPackage} that ${lookedFrom().join(' or ')} finds: ${install}`,
  );
}

/** Looks for it as {@link findCudaProvider} does, and gives undefined where there is none. */
export function findInstalledProvider(library: string): CudaProvider | undefined {
  const beside = path.dirname(library);
  if (hasProviders(beside)) return { folder: beside, isBeside: true };
  const folder = packagedProviders();
  return folder === undefined ? undefined : { folder, isBeside: false, architectures: packagedArchitectures };
}

/** Whether a folder has the CUDA provider. */
export function hasProviders(folder: string): boolean {
  return providerLibraries.every((name) => existsSync(path.join(folder, name)));
}

function packagedProviders(): string | undefined {
  let root: string;
  try {
    root = path.dirname(require.resolve(`${providerPackage}/package.json`, { paths: lookedFrom() }));
  } catch {
    return undefined;
  }
  const folder = path.join(root, 'Plugins', 'Linux', 'x64');
  return hasProviders(folder) ? folder : undefined;
}

/** Folders that the package of the provider is looked for from. */
function lookedFrom(): string[] {
  const own = path.join(__dirname, '..', '..');
  try {
    return [...new Set([own, process.cwd()])];
  } catch {
    return [own]; // the working directory was deleted
  }
}
