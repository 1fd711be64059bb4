// Models of the sizes and forms of public ones, with random weights (onnx/models.ts), from folder to result.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Inverter, type Coupling, type InvertOptions } from 'fkinv-native';
import { cpuEngine } from '../helpers/cpu-engine';
import { at, close, sum } from '../helpers/kernels/golden';
import { lladaVocab, shifted, shiftedWords, wideF16, word } from '../onnx/models';

const root = mkdtempSync(path.join(tmpdir(), 'fkinv-random-'));
test.after.always(() => rmSync(root, { recursive: true }));

const bells = path.join(__dirname, '..', '..', 'examples', 'bells.png');

async function open(t: ExecutionContext, dllm: string): Promise<Inverter> {
  const inverter = await Inverter.load({ dllm });
  t.teardown(() => inverter.dispose());
  return inverter;
}

/** ONNX Runtime's ORT_ENABLE_ALL. */
const optimizeAll = 99;

/** Logits [N, V] of one state. */
async function logitsOf(t: ExecutionContext, folder: string, tokens: number[], vocab: number): Promise<Float32Array> {
  const engine = cpuEngine(2);
  t.teardown(() => engine.dispose());
  const session = await engine.load(path.join(folder, 'model.onnx'), {
    optimization: optimizeAll,
    cudaGraphs: false,
    prepacking: true,
  });
  const input = { name: 'input_ids', data: BigInt64Array.from(tokens, BigInt), rowShape: [tokens.length] };
  return (await session.run(1, [input], 'logits', [tokens.length, vocab])).read();
}

/** To `bits` significant bits (Veltkamp's splitting): what a 16-bit float keeps of a number of moderate size. */
function rounded(value: number, bits: number): number {
  const far = value * (2 ** (53 - bits) + 1);
  return far - (far - value);
}

/** Row n of P̂ [N, V] of logits kept to `bits`; `isSuppressed` columns have no probability. */
function softmaxRow(
  logits: Float32Array,
  n: number,
  { vocab, bits, isSuppressed }: { vocab: number; bits: number; isSuppressed: (id: number, n: number) => boolean },
): Float64Array {
  const row = Float64Array.from(logits.subarray(n * vocab, (n + 1) * vocab));
  const masses = row.map((z, id) => (isSuppressed(id, n) ? 0 : Math.exp(rounded(z, bits))));
  const total = sum(masses);
  return masses.map((mass) => mass / total);
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += (a[i] ?? NaN) * (b[i] ?? NaN);
  return total;
}

/** 1 − (μ + σ) of the matrix itself. */
function rewardOf({ matrix, counted }: Coupling): number {
  const pairs = matrix.flatMap((row, i) => row.filter((_, j) => i !== j && counted[i] === true && counted[j] === true));
  const mean = sum(pairs) / pairs.length;
  return 1 - (mean + Math.sqrt(sum(pairs.map((s) => (s - mean) ** 2)) / pairs.length));
}

const wide = {
  'wide-f16': { make: wideF16, vocab: 50257, eos: 50255, bits: 11 },
  'llada-vocab': { make: lladaVocab, vocab: 126464, eos: 126081, bits: 8 },
};
const length = 77;
const minLength = 4;
for (const [name, { make, vocab, eos, bits }] of Object.entries(wide)) {
  test.serial(`${name}: ${length} positions of ${vocab} tokens`, async (t) => {
    const [folder, single] = [path.join(root, name), path.join(root, `${name}-f32`)];
    await Promise.all([make(folder), make(single, 'float32')]);
    const inverter = await open(t, folder);
    const { particles, coupling, tokens, rewardEdit, trace } = await inverter.invert(bells, {
      length,
      minLength,
      particles: 2,
      steps: 2,
    });
    t.is(trace.length, 3);
    for (const particle of particles) {
      t.is(particle.tokens.length, length);
      t.true(particle.tokens.every((id) => Number.isInteger(id) && id >= 0 && id <= eos));
      const end = particle.tokens.indexOf(eos);
      t.true(end === -1 || end >= minLength);
      const text = particle.tokens.slice(0, end === -1 ? length : end);
      t.is(particle.prompt.trim(), text.map(word).join(' '));
      t.true(Math.abs(particle.rewardClip) <= 1 && particle.logProb < 0);
    }
    t.true(new Set(tokens).size > length / 2, 'positions differ');
    t.true(close(rewardOf(coupling), rewardEdit, 1e-6, 1e-7), `${rewardEdit}`);
    t.true(coupling.matrix.every((row, i) => row.every((s, j) => s > 0 && s <= 1 && s === coupling.matrix[j]?.[i])));
    const logits = await logitsOf(t, single, tokens, vocab);
    const isSuppressed = (id: number, n: number): boolean => id > eos || (id === eos && n < minLength);
    const positions = [0, 1, minLength, 15, 16, 31, 40, 63, 64, length - 1];
    const rows = positions.map((n) => softmaxRow(logits, n, { vocab, bits, isSuppressed }));
    for (const [a, i] of positions.entries()) {
      for (const [b, j] of positions.entries()) {
        const s = at(at(coupling.matrix, i), j);
        const expected = dot(at(rows, a), at(rows, b));
        t.true(close(s, expected, 1e-3), `S[${i}][${j}]: ${s}, expected ${expected}`);
      }
    }
  });
}

const argmax: InvertOptions = { length: 6, minLength: 6, particles: 1, steps: 3, temperature: 0 };
for (const [logitShift, first] of [
  [1, 0],
  [0, 1],
] as const) {
  test.serial(`logits of which row i predicts position i + 1, read with logitShift ${logitShift}`, async (t) => {
    const folder = path.join(root, `shifted-${logitShift}`);
    await shifted(folder, logitShift);
    const inverter = await open(t, folder);
    for (const order of ['random', 'confidence', 'entropy', 'margin'] as const) {
      const { prompt, coupling } = await inverter.invert(bells, { ...argmax, order });
      t.is(prompt.trim(), shiftedWords.slice(first, first + 6).join(' '));
      t.is(prompt, coupling.labels.join('').trimStart());
      t.true(coupling.mean < 0.01, 'each position has a word of its own');
    }
  });
}
