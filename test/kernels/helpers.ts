import { readFileSync } from 'node:fs';
import path from 'node:path';

/** A file of test/fixtures/golden, parsed. */
export function golden(file: string): unknown {
  return JSON.parse(readFileSync(path.join(__dirname, '..', 'fixtures', 'golden', file), 'utf8'));
}

/** Entry `i`, which must be there. */
export function at<T>(list: ArrayLike<T>, i: number): T {
  const entry = list[i];
  if (entry === undefined) throw new RangeError(`no entry ${i} of ${list.length}`);
  return entry;
}

/** Whether `actual` is `expected` within a relative and an absolute tolerance, added. NaN never is. */
export function close(actual: number, expected: number, relative: number, absolute = 0): boolean {
  return actual === expected || Math.abs(actual - expected) <= relative * Math.abs(expected) + absolute;
}

/** The largest number a uniform of 53 bits can be. */
export const belowOne = 1 - 2 ** -53;

/** (k + ½)/n for k = 0 … n − 1. */
export function stratified(n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, k) => (k + 0.5) / n);
}

/** Uniforms in [0, 1) of a 32-bit seed (mulberry32): logits are made of them, never draws. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) * 2 ** -32;
  };
}

/** `n` normal deviates of a seed. */
export function normals(n: number, seed: number): Float32Array {
  const uniform = generator(seed);
  return Float32Array.from(
    { length: n },
    () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

export const sum = (values: Iterable<number>): number => {
  let total = 0;
  for (const value of values) total += value;
  return total;
};
