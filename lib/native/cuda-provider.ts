import { mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FkinvError, messageOf } from '../errors';
import { native } from './addon';
import { findOnnxRuntime } from './onnxruntime';
import { findCudaProvider, findInstalledProvider, hasProviders, providerLibraries } from './provider-files';

/** The folder of links that joins ONNX Runtime to a provider from elsewhere, where there is one. */
let links: string | undefined;

/**
 * Opens ONNX Runtime with its CUDA provider, and gives the library's path. ONNX Runtime looks for a provider in the folder
 * that it was opened in: one from elsewhere is joined to it by links in a temporary folder, which is opened. Throws
 * `CUDA_UNAVAILABLE`, `ORT_NOT_FOUND` or `ORT_VERSION`.
 */
export function openWithCudaProvider(): string {
  const library = findOnnxRuntime();
  if (native.hasCudaProvider()) return library;
  const provider = findCudaProvider(library);
  const folder = native.openOnnxRuntime(provider.isBeside ? library : linked(library, provider.folder));
  if (!hasProviders(folder)) {
    throw new FkinvError(
      'CUDA_UNAVAILABLE',
      `ONNX Runtime was opened from ${folder} before, by onnxruntime-node, and looks for its CUDA provider ` +
        `there, which is in ${provider.folder}: load an Inverter before it`,
    );
  }
  try {
    native.loadCudaProvider();
  } catch (cause) {
    throw new FkinvError(
      'CUDA_UNAVAILABLE',
      `ONNX Runtime’s CUDA provider in ${provider.folder} does not load: ${whyNot(messageOf(cause))}`,
      { cause },
    );
  }
  removeLinks();
  return library;
}

/**
 * Finds ONNX Runtime for the CPU, and gives its path. Where a provider from elsewhere is installed, the library is opened beside
 * links to it at once: an engine on a CUDA device may follow, and a process can open the library only once.
 */
export function openForCpu(): string {
  const library = findOnnxRuntime();
  const provider = findInstalledProvider(library);
  if (provider?.isBeside === false) native.openOnnxRuntime(linked(library, provider.folder));
  return library;
}

/**
 * A link to `library` that has links to its provider beside it, so that ONNX Runtime finds both in one folder. They stay until
 * the provider is loaded, or the process ends.
 */
function linked(library: string, folder: string): string {
  if (links === undefined) {
    links = mkdtempSync(path.join(realpathSync(tmpdir()), 'fkinv-onnxruntime-'));
    process.on('exit', removeLinks);
    symlinkSync(library, path.join(links, path.basename(library)));
    for (const name of providerLibraries) symlinkSync(path.join(folder, name), path.join(links, name));
  }
  return path.join(links, path.basename(library));
}

function removeLinks(): void {
  if (links !== undefined) rmSync(links, { recursive: true, force: true });
  links = undefined;
  process.off('exit', removeLinks);
}

/** The loader's reason, and what to install for it. */
function whyNot(reason: string): string {
  const [, missing] = /(lib[\w+-]+\.so[.\d]*): cannot open shared object file/.exec(reason) ?? [];
  if (missing === undefined) return reason;
  if (missing.startsWith('libcuda.so')) return `${missing} is missing, which comes with NVIDIA’s driver: install that`;
  const [, release = '13'] = /\.so\.(1[2-9])$/.exec(missing) ?? [];
  return (
    `${missing} is missing (${reason}): install the runtime libraries of CUDA ${release} (cudart, cublas, curand) and ` +
    'cuDNN 9, and have LD_LIBRARY_PATH name their folders before Node starts'
  );
}
