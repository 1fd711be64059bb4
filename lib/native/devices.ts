import { openWithCudaProvider } from './cuda-provider';
import { FkinvError } from '../errors';
import type { NativeCuda } from './addon';
import type { Device } from '../options';

/**
 * Numbers of the GPUs that `device` is: of `cuda` and `auto` all that can be used, or the first where none can. That one
 * then says why.
 */
export function gpusOf(device: Device, facts: NativeCuda): [number, ...number[]] {
  const [, index] = device.split(':');
  if (index !== undefined) return [Number(index)];
  const [first = 0, ...others] = [...facts.gpus.keys()].filter((gpu) => faultOf(facts, gpu) === undefined);
  return [first, ...others];
}

/**
 * Opens all that an engine on GPU `index` needs, and gives the path of ONNX Runtime. Throws `CUDA_UNAVAILABLE`, which
 * says why it cannot be used and what to do.
 */
export function openCuda(index: number, facts: NativeCuda): string {
  const fault = faultOf(facts, index);
  if (fault !== undefined) throw new FkinvError('CUDA_UNAVAILABLE', `device cuda:${index}: ${fault}`);
  return openWithCudaProvider();
}

/** Whether there is a GPU, usable or not: where there is none, nobody expects one to be used. */
export function hasGpu({ driverServes, fault, gpus }: NativeCuda): boolean {
  return driverServes !== '' && (gpus.length > 0 || fault !== '');
}

/** What CUDA 13 needs. */
const neededDriver = 'one of release 580 or later';

/** Why GPU `index` cannot be used, as far as its driver and this build tell; undefined where it can. */
export function faultOf(facts: NativeCuda, index: number): string | undefined {
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
  if (hasKernels(architectures, gpu.computeCapability)) return undefined;
  return (
    `${gpu.name} has compute capability ${capabilityOf(gpu.computeCapability)}, and this build has kernels for ` +
    `${architectures} alone: build it with FKINV_CUDA=1 on that machine, or use the device cpu`
  );
}

/** `9.0` of 90. */
export function capabilityOf(computeCapability: number): string {
  return `${Math.floor(computeCapability / 10)}.${computeCapability % 10}`;
}

/** Machine code runs on GPUs of its own major version, from its minor on; that of the last architecture is there as PTX too. */
function hasKernels(architectures: string, capability: number): boolean {
  const built = architectures.split(', ').map(Number);
  const major = Math.floor(capability / 10);
  return capability >= Math.max(...built) || built.some((one) => Math.floor(one / 10) === major && one <= capability);
}
