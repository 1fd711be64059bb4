import { readFileSync } from 'node:fs';
import type { Case } from './contender';

/**
 * Of an entry of S, relative. JavaScript sums in double precision; PyTorch and ONNX Runtime sum a row in single, and are
 * off by 1e-4 at 151,936 columns.
 */
const tolerances = { javascript: 1e-5, others: 3e-4 };
const rewardTolerance = 1e-6;

/** Throws unless a contender's first step gave the S and the rewards that the engine's gave. */
export function checkSame(name: string, outcome: string, engine: string, shape: Case['shape']): void {
  const a = read(outcome, shape);
  const b = read(engine, shape);
  const tolerance = name === 'javascript' ? tolerances.javascript : tolerances.others;
  const far = a.similarity.findIndex((s, at) => !(Math.abs(s / (b.similarity[at] ?? NaN) - 1) < tolerance));
  if (far !== -1) throw new Error(`${name}: S[${far}] is ${a.similarity[far]}, the engine's is ${b.similarity[far]}`);
  const other = a.rewards.findIndex((r, at) => !(Math.abs(r - (b.rewards[at] ?? NaN)) < rewardTolerance));
  if (other !== -1) throw new Error(`${name}: reward ${other} is ${a.rewards[other]}, not ${b.rewards[other]}`);
}

function read(file: string, [P, N]: Case['shape']): { similarity: Float32Array; rewards: Float64Array } {
  const { buffer } = new Uint8Array(readFileSync(file));
  const bytes = P * N * N * Float32Array.BYTES_PER_ELEMENT;
  return { similarity: new Float32Array(buffer, 0, P * N * N), rewards: new Float64Array(buffer.slice(bytes)) };
}
