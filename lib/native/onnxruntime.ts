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

/** Folders from which a package is looked for that is the application's to install: ours, and the working directory. */
export function lookedFrom(): string[] {
  const own = path.join(__dirname, '..', '..');
  try {
    return [...new Set([own, process.cwd()])];
  } catch {
    return [own]; // the working directory was deleted
  }
}
