import { openForCpu } from './cuda-provider';
import { cudaFacts, gpusOf, hasGpu, openCuda } from './devices';
import { environment } from '../util/environment';
import { FkinvError } from '../errors';
import { native, type NativeEngine } from './addon';
import type { Device } from '../options';

/**
 * The instruction set that kernels run in: `wanted`, else the one that FKINV_INSTRUCTION_SET names, else the best that this
 * processor has. Throws `INVALID_OPTION` where this processor, or this build, has none of that name.
 */
export function instructionSet(wanted?: string): string {
  const sets = native.instructionSets();
  const name = wanted ?? environment.instructionSet ?? sets.at(-1) ?? 'baseline';
  if (sets.includes(name)) return name;
  const which = wanted === undefined ? 'FKINV_INSTRUCTION_SET: must be' : 'instructionSet: must be';
  throw new FkinvError(
    'INVALID_OPTION',
    `${which} one of ${sets.join(', ')}, which are what this processor has, not ${name}`,
  );
}

/** Where an engine runs, and how many threads it has. */
export interface EngineOptions {
  /** Threads that an engine may use of the processor, 1 or more; a GPU is driven by one, whatever this says. */
  threads: number;
  device: Device;
  /** Called with one line that says why `auto` chose the CPU although there is a GPU. */
  warn: (message: string) => void;
}

/** Makes the one engine that {@link createEngines} would make first. */
export function createEngine(options: EngineOptions): NativeEngine {
  return createEngines(options, 1)[0];
}

/**
 * Makes engines over the ONNX Runtime that is found: one on each GPU that `device` means, at most `atMost`, or one on the CPU.
 * Throws `ORT_NOT_FOUND`, `ORT_VERSION`, `INVALID_OPTION`, and for a CUDA device `CUDA_UNAVAILABLE` or `CUDA_FAILED`.
 */
export function createEngines(
  { threads, device, warn }: EngineOptions,
  atMost = Infinity,
): [NativeEngine, ...NativeEngine[]] {
  const onCpu = (): [NativeEngine] => [new native.Engine(openForCpu(), threads, instructionSet(), 'cpu')];
  if (device === 'cpu') return onCpu();
  const facts = cudaFacts();
  if (device === 'auto' && !hasGpu(facts)) return onCpu();
  const engines: NativeEngine[] = [];
  const onGpu = (gpu: number): NativeEngine => {
    const engine = new native.Engine(openCuda(gpu, facts), threads, instructionSet(), `cuda:${gpu}`);
    engines.push(engine);
    return engine;
  };
  try {
    const [first, ...others] = gpusOf(device, facts);
    return [onGpu(first), ...others.slice(0, atMost - 1).map(onGpu)];
  } catch (error) {
    for (const engine of engines) void engine.dispose();
    if (device !== 'auto' || !(error instanceof FkinvError) || !error.code.startsWith('CUDA_')) throw error;
    const gpu = facts.gpus[0]?.name ?? 'one that does not start';
    warn(`device auto is the CPU, though there is a GPU (${gpu}): ${error.message.replaceAll(/\s*\n\s*/g, ' ')}`);
    return onCpu();
  }
}
