import { existsSync } from 'node:fs';
import path from 'node:path';
import { environment } from './environment';
import { FkinvError } from './errors';

const names: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'libonnxruntime.so.1',
  darwin: 'libonnxruntime.1.dylib',
};

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
  const name = names[process.platform];
  if (name === undefined) throw new FkinvError('ORT_NOT_FOUND', `no ONNX Runtime is known for ${process.platform}`);
  let root: string;
  try {
    root = path.dirname(require.resolve('onnxruntime-node/package.json'));
  } catch (cause) {
    throw new FkinvError('ORT_NOT_FOUND', 'onnxruntime-node is not installed: npm install onnxruntime-node@1.29.0', {
      cause,
    });
  }
  const library = path.join(root, 'bin', 'napi-v6', process.platform, process.arch, name);
  if (existsSync(library)) return library;
  throw new FkinvError(
    'ORT_NOT_FOUND',
    `onnxruntime-node has no library for ${process.platform}-${process.arch}: ${library} is missing. ` +
      'Install onnxruntime-node@1.29.0 again, or name a libonnxruntime in FKINV_ONNXRUNTIME',
  );
}
