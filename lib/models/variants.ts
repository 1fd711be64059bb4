import path from 'node:path';
import type { Device } from '../options';

// The variants of a graph that lie side by side in a folder, by the names that transformers.js gives them (its dtypes):
// https://huggingface.co/docs/transformers.js/guides/dtypes

/** Each variant's suffixes, of which a graph's file name has one before `.onnx`; the usual one comes first. */
const suffixes = {
  fp32: [''],
  fp16: ['_fp16'],
  q8: ['_quantized', '_q8'],
  int8: ['_int8'],
  uint8: ['_uint8'],
  q4: ['_q4'],
  q4f16: ['_q4f16'],
  bnb4: ['_bnb4'],
} as const;
/** A variant that a suffix tells. */
export type Variant = keyof typeof suffixes;

/** All of them, in the order in which people list them. */
export const variants = Object.keys(suffixes) as Variant[];

/**
 * The variants by how well a device runs them: a CPU computes in float32 whatever the weights are in, a GPU is at its best in
 * float16. What is not here runs as well, and comes last.
 */
const bestOn: Record<'cpu' | 'gpu', { clip: Variant[]; dllm: Variant[] }> = {
  cpu: {
    clip: ['fp32', 'q8', 'uint8', 'int8', 'fp16', 'q4', 'bnb4', 'q4f16'],
    dllm: ['fp32', 'q4', 'q4f16', 'q8', 'uint8', 'int8', 'bnb4', 'fp16'],
  },
  gpu: {
    clip: ['fp16', 'fp32', 'q4f16', 'q4', 'bnb4', 'q8', 'uint8', 'int8'],
    dllm: ['fp16', 'q4f16', 'fp32', 'q4', 'bnb4', 'q8', 'uint8', 'int8'],
  },
};

/** The names of `given` that are variants, those that `device` runs best first, and the others behind them. */
export function inOrder<Name extends string>(
  given: readonly Name[],
  kind: 'clip' | 'dllm',
  device: Exclude<Device, 'auto'>,
): Name[] {
  const order: string[] = bestOn[device === 'cpu' ? 'cpu' : 'gpu'][kind];
  const placeOf = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
  return [...given].sort((a, b) => placeOf(a) - placeOf(b));
}

/** Whether `name` is a variant that a suffix tells. */
export function isVariant(name: string): name is Variant {
  return name in suffixes;
}

/** The files that can be `variant` of the graph `standard`, such as `onnx/model.onnx`. */
export function filesOfVariant(standard: string, variant: Variant): string[] {
  const { dir, name } = path.posix.parse(standard);
  return suffixes[variant].map((suffix) => path.posix.join(dir, `${name}${suffix}.onnx`));
}
