// The method once more, particle by particle and in plain TypeScript over the public kernels: what lib/sampler.ts and
// cpp/particles.cpp are held to. One image; every particle has a forward of its own.
import type { Models } from '../lib/sampler';
import type { ResolvedOptions } from '../lib/options';
import { coupling, draw, philox, resample } from '../lib/kernels';
import { logitsOf } from './models-demo';

interface Walker {
  tokens: number[];
  rewardClip: number;
  rewardEdit: number;
  logProb: number;
  logWeight: number;
}

export interface Walk {
  /** At the end, by slot. */
  walkers: Walker[];
  /** By step, then slot. */
  logWeights: number[][];
  ancestors: number[][];
}

/** The two uniforms of a counter (algorithm.md, Randomness). */
export function uniforms(
  step: number,
  slot: number,
  position: number,
  purpose: number,
  seed: bigint,
): [number, number] {
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  const [a = 0, b = 0, c = 0, d = 0] = philox([step, slot, position, purpose * 2 ** 24], key);
  const uniform = (low: number, high: number): number =>
    Number(((BigInt(high) << 32n) | BigInt(low)) >> 11n) * 2 ** -53;
  return [uniform(a, b), uniform(c, d)];
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array): number => x.reduce((sum, value, i) => sum + value * (y[i] ?? NaN), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** log softmax(row/τ)[token]. */
function logSoftmax(row: Float32Array, token: number, temperature: number): number {
  const mass = row.reduce((sum, z) => sum + Math.exp(z / temperature), 0);
  return (row[token] ?? NaN) / temperature - Math.log(mass);
}

export async function walk(models: Models, embed: Float32Array, seed: bigint, options: ResolvedOptions): Promise<Walk> {
  const { clip, dllm } = models;
  const { length: N, particles: K, steps: T, temperature, lambdaClip, lambdaEdit, minLength } = options;
  const mask = dllm.maskId;
  const rowOf = (z: Float32Array, n: number): Float32Array => z.subarray(n * dllm.vocab, (n + 1) * dllm.vocab);

  const forward = async (tokens: number[]): Promise<Float32Array> => {
    const z = await logitsOf(models, tokens, embed);
    for (let n = 0; n < N; n++) {
      for (const id of dllm.suppressed) rowOf(z, n)[id] = -Infinity;
      if (n < minLength) for (const id of dllm.stops) rowOf(z, n)[id] = -Infinity;
    }
    return z;
  };
  const drawAt = (z: Float32Array, n: number, step: number, slot: number, purpose: number): number => {
    const [u, uInside] = uniforms(step, slot, n, purpose, seed);
    const at = { vocab: dllm.vocab, temperature, u: Float64Array.of(u), uInside: Float64Array.of(uInside) };
    return draw(rowOf(z, n).slice(), at)[0] ?? NaN;
  };
  const rewardsOf = async (z: Float32Array, guess: number[], width: number): Promise<[number, number]> => {
    const ids = clip.tokenizer.encode(dllm.decode(guess));
    const row = BigInt64Array.from({ length: width }, (_, i) => BigInt(ids[i] ?? clip.tokenizer.padId ?? 0));
    const input = { name: 'input_ids', data: row, rowShape: [width] };
    const text = await (await clip.text.session.run(1, [input], 'text_embeds', [clip.embedSize])).read();
    const end = guess.findIndex((id) => dllm.stops.includes(id));
    const counted = Uint8Array.from(guess, (_, n) => (end === -1 || n < end ? 1 : 0));
    const { reward } = coupling(z, { positions: N, vocab: dllm.vocab, counted });
    return [cosine(text, embed), reward[0] ?? NaN];
  };

  const start: Walker = { tokens: Array<number>(N).fill(mask), rewardClip: 0, rewardEdit: 0, logProb: 0, logWeight: 0 };
  let walkers = Array.from({ length: K }, () => start);
  const logWeights: number[][] = [];
  const ancestors: number[][] = [];
  for (let step = 0; ; step++) {
    const logits = await Promise.all(walkers.map(({ tokens }) => forward(tokens)));
    const guesses = walkers.map(({ tokens }, k) =>
      tokens.map((id, n) => (id === mask ? drawAt(logits[k] ?? embed, n, step, k, 0) : id)),
    );
    const width = Math.max(...guesses.map((guess) => clip.tokenizer.encode(dllm.decode(guess)).length));
    const rewards = await Promise.all(guesses.map((guess, k) => rewardsOf(logits[k] ?? embed, guess, width)));
    walkers = walkers.map((walker, k) => {
      const [rewardClip, rewardEdit] = rewards[k] ?? [NaN, NaN];
      const logG = lambdaClip * (rewardClip - walker.rewardClip) + lambdaEdit * (rewardEdit - walker.rewardEdit);
      return { ...walker, rewardClip, rewardEdit, logWeight: walker.logWeight + logG };
    });
    logWeights.push(walkers.map(({ logWeight }) => logWeight));
    if (step === T) return { walkers, logWeights, ancestors };

    const u = Float64Array.from({ length: K }, (_, k) => uniforms(step, k, 0, 3, seed)[0]);
    const chosen = [...resample(Float64Array.from(logWeights[step] ?? []), { scheme: 'multinomial', u }).ancestors];
    ancestors.push(chosen);
    walkers = chosen.map((ancestor, k) => {
      const from = walkers[ancestor] ?? start;
      const z = logits[ancestor] ?? embed; // the ancestor's, not the slot's
      const tokens = [...from.tokens];
      let { logProb } = from;
      let logWeight = 0;
      for (let n = 0; n < N; n++) {
        if (tokens[n] !== mask || uniforms(step, k, n, 2, seed)[0] >= 1 / (T - step)) continue;
        const token = drawAt(z, n, step, k, 1);
        tokens[n] = token;
        logProb += logSoftmax(rowOf(z, n), token, 1);
        logWeight += logSoftmax(rowOf(z, n), token, 1) - logSoftmax(rowOf(z, n), token, temperature);
      }
      return { ...from, tokens, logProb, logWeight };
    });
  }
}
