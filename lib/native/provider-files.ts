import { existsSync } from 'node:fs';
import path from 'node:path';
import { FkinvError } from '../errors';
import { lookedFrom } from './onnxruntime';

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
