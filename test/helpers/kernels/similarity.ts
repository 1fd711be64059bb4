// S, μ, σ, r_edit and entropy by the formulas and in float64, and how near to them kernels must come.
import type { CouplingResult } from 'fkinv-native/kernels';
import { at, close, golden, sum } from './golden';

/** The results of one state. */
export interface State {
  gram: ArrayLike<number>;
  mean: number;
  variance: number;
  reward: number;
  entropy: ArrayLike<number>;
  rowMax: ArrayLike<number>;
}

export function stateOf(result: CouplingResult, q = 0): State {
  return {
    gram: at(result.gram, q),
    mean: at(result.mean, q),
    variance: at(result.variance, q),
    reward: at(result.reward, q),
    entropy: at(result.entropy, q),
    rowMax: at(result.rowMax, q),
  };
}

/** μ, σ², r_edit of an S over the pairs of counted positions, in float64 and two passes. */
export function moments(
  gram: ArrayLike<number>,
  positions: number,
  counted?: ArrayLike<number>,
): Pick<State, 'mean' | 'variance' | 'reward'> {
  const pairs: number[] = [];
  for (let i = 0; i < positions; i++) {
    for (let j = 0; j < positions; j++) {
      if (i !== j && counted?.[i] !== 0 && counted?.[j] !== 0) pairs.push(at(gram, i * positions + j));
    }
  }
  if (pairs.length === 0) return { mean: 0, variance: 0, reward: 1 };
  const mean = sum(pairs) / pairs.length;
  const variance = sum(pairs.map((s) => (s - mean) ** 2)) / pairs.length;
  return { mean, variance, reward: 1 - (mean + Math.sqrt(variance)) };
}

/** All of it in float64, by the formula. */
export function reference(logits: Float32Array, positions: number, vocab: number): State {
  const rows = Array.from({ length: positions }, (_, i) => logits.subarray(i * vocab, (i + 1) * vocab));
  const rowMax = rows.map((row) => row.reduce((max, z) => Math.max(max, z)));
  const probabilities = rows.map((row, i) => {
    const e = Float64Array.from(row, (z) => Math.exp(z - at(rowMax, i)));
    const total = sum(e);
    return e.map((x) => x / total);
  });
  const gram = new Float64Array(positions * positions);
  probabilities.forEach((p, i) => {
    for (let j = i; j < positions; j++) {
      const other = at(probabilities, j);
      let s = 0;
      for (let c = 0; c < vocab; c++) s += at(p, c) * at(other, c);
      gram[i * positions + j] = gram[j * positions + i] = s;
    }
  });
  const entropy = probabilities.map((p) => -sum(p.map((x) => (x > 0 ? x * Math.log(x) : 0))));
  return { gram, ...moments(gram, positions), entropy, rowMax };
}

/** What of `actual` is not within the bounds of kernels.md for float32. */
export function faults(actual: State, expected: State): string[] {
  const found: string[] = [];
  const check = (what: string, a: number, b: number, holds: boolean): void => {
    if (!holds) found.push(`${what}: ${a}, not ${b}`);
  };
  const each = (what: string, a: ArrayLike<number>, b: ArrayLike<number>, relative: number, absolute: number): void => {
    check(`length of ${what}`, a.length, b.length, a.length === b.length);
    for (let i = 0; i < b.length; i++) {
      check(`${what}[${i}]`, at(a, i), at(b, i), close(at(a, i), at(b, i), relative, absolute));
    }
  };
  each('gram', actual.gram, expected.gram, 1e-5, 1e-7);
  each('entropy', actual.entropy, expected.entropy, 1e-5, 1e-6);
  each('rowMax', actual.rowMax, expected.rowMax, 0, 0);
  const deviations = [Math.sqrt(actual.variance), Math.sqrt(expected.variance)] as const;
  check('mean', actual.mean, expected.mean, close(actual.mean, expected.mean, 1e-5, 1e-7));
  check('deviation', ...deviations, close(...deviations, 1e-5, 1e-7));
  check('reward', actual.reward, expected.reward, close(actual.reward, expected.reward, 1e-5, 1e-7));
  return found;
}

/** No faults, or an error that lists some: for use inside a property. */
export function expectClose(actual: State, expected: State): void {
  const found = faults(actual, expected);
  if (found.length > 0) throw new Error(`${found.length} faults: ${found.slice(0, 5).join('; ')}`);
}

export interface GoldenCase {
  name: string;
  positions: number;
  vocab: number;
  logits: (number | string)[][];
  gram: number[][];
  offMean: number;
  offVariance: number;
  reward: number;
  entropy: number[];
  rowMax: number[];
}
export const { cases: goldenCases } = golden('coupling.json') as { cases: GoldenCase[] };
const logitOf = (z: number | string): number => (z === '-inf' ? -Infinity : Number(z));
export const goldenLogits = (c: GoldenCase): Float32Array => Float32Array.from(c.logits.flat(), logitOf);
