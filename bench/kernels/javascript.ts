/* eslint-disable @typescript-eslint/no-non-null-assertion -- every index is in range, and nothing may slow a loop */
// npm run bench:kernels: plain JavaScript on typed arrays as a contender, on one thread.
import { contend, type Contestant, type Logits, type Outcome } from './contend';
import type { Case } from './contender';

/** Every float16 as a float32: a look-up is the fastest way to widen them in JavaScript. */
function float16Table(): Float32Array {
  return Float32Array.from({ length: 0x10000 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  });
}

/** softmax(z) of each of the `rows` rows of V columns → p. */
function softmax(z: Float32Array, rows: number, V: number, p: Float32Array): void {
  for (let row = 0; row < rows; row++) {
    const begin = row * V;
    const end = begin + V;
    let max = -Infinity;
    for (let c = begin; c < end; c++) max = Math.max(max, z[c]!);
    let mass = 0;
    for (let c = begin; c < end; c++) {
      const e = Math.exp(z[c]! - max);
      p[c] = e;
      mass += e;
    }
    const scale = 1 / mass;
    for (let c = begin; c < end; c++) p[c] = p[c]! * scale;
  }
}

/** S = P Pᵀ of state `state`: the upper triangle, mirrored. */
function gram(p: Float32Array, state: number, N: number, V: number, s: Float32Array): void {
  for (let i = 0; i < N; i++) {
    for (let j = i; j < N; j++) {
      const a = (state * N + i) * V;
      const b = (state * N + j) * V;
      let sum = 0;
      for (let c = 0; c < V; c++) sum += p[a + c]! * p[b + c]!;
      s[(state * N + i) * N + j] = s[(state * N + j) * N + i] = sum;
    }
  }
}

function reward(s: Float32Array, state: number, N: number): number {
  const first = state * N * N;
  const pairs = N * (N - 1);
  let mean = 0;
  for (let i = 0; i < N; i++) for (let j = 0; j < N; j++) if (i !== j) mean += s[first + i * N + j]! / pairs;
  let variance = 0;
  for (let i = 0; i < N; i++) {
    for (let j = 0; j < N; j++) if (i !== j) variance += (s[first + i * N + j]! - mean) ** 2 / pairs;
  }
  return 1 - (mean + Math.sqrt(variance));
}

function draw(p: Float32Array, row: number, V: number): number {
  const u = Math.random();
  let sum = 0;
  for (let c = 0; c < V; c++) {
    sum += p[row * V + c]!;
    if (sum > u) return c;
  }
  return V - 1;
}

function stepOf({ shape: [P, N, V], type }: Case): (logits: Logits) => Outcome {
  const widened = type === 'float16' ? float16Table() : undefined;
  return (logits) => {
    const start = performance.now();
    const z = widened === undefined ? (logits as Float32Array) : new Float32Array(logits.length);
    if (widened !== undefined) for (let c = 0; c < z.length; c++) z[c] = widened[logits[c]!]!;
    const p = new Float32Array(z.length);
    softmax(z, P * N, V, p);
    const similarity = new Float32Array(P * N * N);
    for (let state = 0; state < P; state++) gram(p, state, N, V, similarity);
    const afterSimilarity = performance.now();
    const rewards = Float64Array.from({ length: P }, (_, state) => reward(similarity, state, N));
    const afterReward = performance.now();
    Int32Array.from({ length: P * N }, (_, row) => draw(p, row, V));
    const end = performance.now();
    const seconds = {
      similarity: (afterSimilarity - start) / 1e3,
      reward: (afterReward - afterSimilarity) / 1e3,
      draw: (end - afterReward) / 1e3,
      whole: (end - start) / 1e3,
    };
    return { seconds, similarity, rewards };
  };
}

function prepare(run: Case): Promise<Contestant> {
  // Compiled before it is timed, on a shape that is soon done.
  const shape: Case['shape'] = [2, run.shape[1], 256];
  const values = shape.reduce((product, n) => product * n);
  const warm = stepOf({ ...run, shape });
  for (let i = 0; i < 20; i++) warm(run.type === 'float32' ? new Float32Array(values) : new Uint16Array(values));
  const step = stepOf(run);
  return Promise.resolve({ step: (logits) => Promise.resolve(step(logits)) });
}

void contend({}, prepare);
