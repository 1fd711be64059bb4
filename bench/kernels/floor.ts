import type { Case } from './contender';

/** What the machine can do at most. */
export interface Limits {
  threads: number;
  /** float32 operations; a multiplication and an addition are one each. */
  flopsPerSecond: number;
  /** Read from memory. */
  bytesPerSecond: number;
}

/** What a step of a case cannot be faster than. */
export interface Floor {
  /** The Gram's upper triangle and the exponentials, at the measured FMA rate. */
  compute: number;
  /** The logits read once, at the measured bandwidth. */
  memory: number;
  /** The larger of the two, which overlap. */
  whole: number;
}

/**
 * Floating-point instructions of the exponentials of a vector: the integer n nearest to x, two for x − n, a polynomial of
 * degree 5, as the engine's, the scaling by 2^n, the comparison that makes what is far below the maximum 0, and the sum.
 */
const instructionsOfExponential = 11;

/** In seconds. An instruction that is no FMA takes an FMA's place. */
export function floorSeconds({ shape: [P, N, V], type }: Case, { flopsPerSecond, bytesPerSecond }: Limits): Floor {
  const instructions = (N * (N + 1)) / 2 + N * instructionsOfExponential; // a column, of a lane
  const compute = (2 * P * V * instructions) / flopsPerSecond;
  const memory = (P * N * V * (type === 'float32' ? 4 : 2)) / bytesPerSecond;
  return { compute, memory, whole: Math.max(compute, memory) };
}
