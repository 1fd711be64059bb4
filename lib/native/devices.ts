import { openWithCudaProvider } from './cuda-provider';
import { FkinvError } from '../errors';
import { native, type NativeCuda } from './addon';
import { findOnnxRuntime } from './onnxruntime';
import { findInstalledProvider } from './provider-files';
import type { Device } from '../options';

/** Which parts of CUDA this build and this machine have, and which GPUs the provider that engines would load was built for. */
export interface CudaFacts extends NativeCuda {
  /** The compute capabilities that it has code for, as `CudaProvider` has them; undefined where that is not known. */
  providerArchitectures?: string | undefined;
}

/** Asks the driver, and looks for the provider. Throws `ORT_NOT_FOUND`. */
export function cudaFacts(): CudaFacts {
  const facts = native.cuda();
  if (!hasGpu(facts)) return facts;
  return { ...facts, providerArchitectures: findInstalledProvider(findOnnxRuntime())?.architectures };
}

/**
 * Numbers of the GPUs that `device` means: for `cuda` and `auto` all that can be used. Where none can it is the first alone,
 * since opening that one gives the error that says why.
 */
export function gpusOf(device: Device, facts: CudaFacts): [number, ...number[]] {
  const [, index] = device.split(':');
  if (index !== undefined) return [Number(index)];
  const [first = 0, ...others] = [...facts.gpus.keys()].filter((gpu) => faultOf(facts, gpu) === undefined);
  return [first, ...others];
}

/**
 * Opens all that an engine on GPU `index` needs, and gives the path of ONNX Runtime. Throws `CUDA_UNAVAILABLE`, which
 * says why it cannot be used and what to do.
 */
export function openCuda(index: number, facts: CudaFacts): string {
  const fault = faultOf(facts, index);
  if (fault !== undefined) throw new FkinvError('CUDA_UNAVAILABLE', `device cuda:${index}: ${fault}`);
  return openWithCudaProvider();
}

/** Whether there is a GPU, usable or not: where there is none, nobody expects one to be used. */
export function hasGpu({ driverServes, fault, gpus }: NativeCuda): boolean {
  return driverServes !== '' && (gpus.length > 0 || fault !== '');
}

/** What `device` is of: for `auto`, a GPU where there is one that can be used. Throws `ORT_NOT_FOUND`. */
export function familyOf(device: Device): 'cpu' | 'cuda' {
  if (device !== 'auto') return device === 'cpu' ? 'cpu' : 'cuda';
  const facts = cudaFacts();
  return hasGpu(facts) && faultOf(facts, gpusOf(device, facts)[0]) === undefined ? 'cuda' : 'cpu';
}

/** The driver that CUDA 13 needs, as error messages name it. */
const neededDriver = 'one of release 580 or later';

/** Why GPU `index` cannot be used, as far as its driver, this build and the provider tell; undefined where it can. */
export function faultOf(facts: CudaFacts, index: number): string | undefined {
  const { architectures, runtime, driver, driverServes, fault, gpus } = facts;
  if (architectures === '') {
    return (
      'this build has no CUDA kernels: build it with FKINV_CUDA=1 where nvcc of CUDA 13 is ' +
      '(node node_modules/fkinv-native/scripts/install.mjs), or use the device cpu'
    );
  }
  if (driverServes === '') return `there is no NVIDIA driver: install ${neededDriver}, or use the device cpu`;
  if (parseInt(driverServes) < parseInt(runtime)) {
    const release = driver === '' ? 'the NVIDIA driver' : `the NVIDIA driver ${driver}`;
    return `${release} is too old, it serves CUDA ${driverServes} and this build is of ${runtime}: install ${neededDriver}, or use the device cpu`;
  }
  if (fault !== '') return `the NVIDIA driver gives no GPU: ${fault}; see what nvidia-smi says`;
  const gpu = gpus[index];
  if (gpu === undefined) {
    const found = gpus.length === 0 ? 'no GPU' : `${gpus.length}, cuda:0 to cuda:${gpus.length - 1}`;
    return `there is no such GPU, CUDA finds ${found} (CUDA_VISIBLE_DEVICES limits what it looks at)`;
  }
  const { name, computeCapability } = gpu;
  if (!hasKernels(architectures, computeCapability)) {
    return (
      `${name} has compute capability ${capabilityOf(computeCapability)}, and this build has kernels for ` +
      `${architectures} alone: build it with FKINV_CUDA=1 on that machine, or use the device cpu`
    );
  }
  const { providerArchitectures } = facts;
  if (providerArchitectures === undefined || hasMachineCode(providerArchitectures, computeCapability)) return undefined;
  return (
    `${name} has compute capability ${capabilityOf(computeCapability)}, and the installed CUDA provider of ONNX Runtime has ` +
    `code for ${providerArchitectures} alone: put one that was built for it beside ONNX Runtime, or use the device cpu`
  );
}

/** A compute capability as people write it: `9.0` for 90. */
export function capabilityOf(computeCapability: number): string {
  return `${Math.floor(computeCapability / 10)}.${computeCapability % 10}`;
}

/** Our kernels of the last architecture are there as PTX too, which the driver compiles for later ones. */
function hasKernels(architectures: string, capability: number): boolean {
  return capability >= Math.max(...listed(architectures)) || hasMachineCode(architectures, capability);
}

/** Machine code runs on GPUs of its own major version, from its minor on. */
function hasMachineCode(architectures: string, capability: number): boolean {
  const major = Math.floor(capability / 10);
  return listed(architectures).some((one) => Math.floor(one / 10) === major && one <= capability);
}

function listed(architectures: string): number[] {
  return architectures.split(', ').map(Number);
}
