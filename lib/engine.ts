import { environment } from './environment';
import { FkinvError } from './errors';
import { native, type NativeEngine } from './native';
import { findOnnxRuntime } from './onnxruntime';

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

/** An engine of `threads` threads over the ONNX Runtime that is found. Throws `ORT_NOT_FOUND`, `ORT_VERSION` or `INVALID_OPTION`. */
export function createEngine(threads: number): NativeEngine {
  return new native.Engine(findOnnxRuntime(), threads, instructionSet());
}
