import { existsSync } from 'node:fs';
import path from 'node:path';
import { familySync, MUSL } from 'detect-libc';
import { environment } from './environment';
import { FkinvError } from './errors';

/** ONNX Runtime's library in `onnxruntime-node`, of each platform it ships one for. */
const shipped: Record<string, string> = {
  'linux-x64': 'libonnxruntime.so.1',
  'linux-arm64': 'libonnxruntime.so.1',
  'darwin-arm64': 'libonnxruntime.1.dylib',
  'win32-x64': 'onnxruntime.dll',
  'win32-arm64': 'onnxruntime.dll',
};

/**
 * Where a platform's ONNX Runtime lies in the package `onnxruntime-node`; `libc` is the C library's family on Linux, as
 * detect-libc names it. Throws `ORT_NOT_FOUND` for a platform it has none for, which says where to get one.
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
 * Path of the one libonnxruntime of the process: the very file that `onnxruntime-node` opens, so that both can be used
 * side by side (two versions in one process collide).
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
