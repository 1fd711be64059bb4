import { readFileSync } from 'node:fs';
import path from 'node:path';

/** A file of test/fixtures/golden, parsed. */
export function golden(file: string): unknown {
  return JSON.parse(readFileSync(path.join(__dirname, '..', '..', 'fixtures', 'golden', file), 'utf8'));
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

/** Normal logits, each tile of 1024 raised by a normal amount of its own. */
export function hills(vocab: number, seed: number): Float32Array {
  const heights = normals(Math.ceil(vocab / 1024), seed + 1);
  return normals(vocab, seed).map((z, c) => 2 * z + 1.5 * at(heights, Math.floor(c / 1024)));
}

export const sum = (values: Iterable<number>): number => {
  let total = 0;
  for (const value of values) total += value;
  return total;
};

/** A 16-bit float as `coupling` and `draw` take it, by the definition of the format. */
export class Float16 {
  /** Of the smallest normal number. */
  readonly #lowest: number;
  readonly #infinity: number;

  constructor(
    readonly type: 'float16' | 'bfloat16',
    private readonly fractionBits: number,
  ) {
    const bias = 2 ** (14 - fractionBits) - 1;
    this.#lowest = 1 - bias;
    this.#infinity = 0x8000 - 2 ** fractionBits;
  }

  /** Bits of the nearest number to `z`, ties to even; too large is infinite. */
  bitsOf(z: number): number {
    const [sign, magnitude] = [z < 0 || Object.is(z, -0) ? 0x8000 : 0, Math.abs(z)];
    if (Number.isNaN(z)) return this.#infinity + 1;
    if (magnitude === Infinity) return sign + this.#infinity;
    const exponent = Math.max(Math.floor(Math.log2(magnitude)), this.#lowest);
    const units = magnitude / 2 ** (exponent - this.fractionBits);
    const odd = Math.floor(units) % 2 === 1;
    const rounded = units % 1 === 0.5 && !odd ? Math.floor(units) : Math.round(units);
    return sign + Math.min((exponent - this.#lowest) * 2 ** this.fractionBits + rounded, this.#infinity);
  }

  valueOf(bits: number): number {
    const [sign, magnitude] = [bits >= 0x8000 ? -1 : 1, bits % 0x8000];
    if (magnitude >= this.#infinity) return magnitude === this.#infinity ? sign * Infinity : NaN;
    const ones = 2 ** this.fractionBits;
    const [field, fraction] = [Math.floor(magnitude / ones), (magnitude % ones) / ones];
    return sign * (field === 0 ? fraction * 2 ** this.#lowest : (1 + fraction) * 2 ** (field - 1 + this.#lowest));
  }

  /** `logits` rounded: their bits, and the same numbers in float32. */
  round(logits: Float32Array): { bits: Uint16Array; rounded: Float32Array } {
    const bits = Uint16Array.from(logits, (z) => this.bitsOf(z));
    return { bits, rounded: Float32Array.from(bits, (b) => this.valueOf(b)) };
  }
}

export const formats = [new Float16('float16', 10), new Float16('bfloat16', 7)];
