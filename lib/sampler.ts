import type { Clip } from './clip';
import type { Dllm } from './dllm';
import { FkinvError } from './errors';
import type { Coupling, Particle, TraceStep } from './inversion';
import { native, type NativeEngine, type NativeParticles, type NativeTensor } from './native';
import type { ResolvedOptions } from './options';
import type { Stopwatch } from './stopwatch';

/** Models and the engine they are loaded on. */
export interface Models {
  engine: NativeEngine;
  dllm: Dllm;
  clip: Clip;
}

/** What sampling one image gave: its particles, best first, S of the best one, and the trace. */
export interface Sampled {
  particles: Particle[];
  coupling: Coupling;
  trace: TraceStep[];
}

/**
 * Feynman-Kac steered sampling of `images` × K particles: the T + 1 forwards and steps 1 to 7 of the method, in its order.
 * `imageEmbeds` is [images, E], `seeds` has one an image; results are in the images' order. What happens in a step to the
 * numbers of one image does not depend on the others.
 */
export async function sample(
  models: Models,
  imageEmbeds: NativeTensor,
  seeds: bigint[],
  options: ResolvedOptions,
  stopwatch: Stopwatch,
): Promise<Sampled[]> {
  const { dllm, clip } = models;
  const { particles: perImage, steps, signal } = options;
  const perImageOf = <T>(values: Iterable<T>, image: number): T[] =>
    Array.from(values).slice(image * perImage, (image + 1) * perImage);
  const particles = createParticles(models, imageEmbeds, seeds, options);
  const traces: TraceStep[][] = seeds.map(() => []);
  const abort = (): void => particles.cancel();
  signal?.addEventListener('abort', abort);
  try {
    for (let step = 0; ; step++) {
      // 1, 2. z = dLLM(x_t, c) once for each distinct state; S, row statistics and tile table from one read of z.
      const states = await particles.denoise();

      // 3. A clean guess of each particle; at t = 0 it is x_0.
      const guesses = await particles.guess(step);

      // 4. Its text, and the rewards. Equal texts are encoded once.
      const texts = stopwatch.time('decodeText', () => rowsOf(guesses, options.length).map((row) => dllm.decode(row)));
      const { distinct, indexOf } = distinctTexts(texts);
      const batch = stopwatch.time('tokenizeText', () => clip.tokenize(distinct));
      const rewards = await particles.reward(batch.ids, batch.texts, indexOf);

      // 5. log G_t onto the carried log-weights.
      const { logWeights, ess } = await particles.weigh();

      // 6. Ancestors within each image. At t = 0 nothing is resampled.
      const isLast = step === steps;
      const ancestors = isLast ? identity(texts.length, perImage) : await particles.resample(step);

      for (const [image, trace] of traces.entries()) {
        const entry = {
          step,
          steps,
          states: states[image] ?? NaN,
          rewardClip: perImageOf(rewards.clip, image),
          rewardEdit: perImageOf(rewards.edit, image),
          logWeights: perImageOf(logWeights, image),
          ess: ess[image] ?? NaN,
          ancestors: perImageOf(ancestors, image),
          best: '',
        };
        entry.best = perImageOf(texts, image)[ranking(entry, options)[0] ?? 0] ?? '';
        trace.push(entry);
        await options.onStep?.(entry);
      }
      if (isLast) break;

      // 7. Open positions and draw their tokens from the ancestor's z.
      await particles.propose(step);
    }
    return await collect(particles, dllm, traces, options, stopwatch);
  } finally {
    signal?.removeEventListener('abort', abort);
    particles.release();
  }
}

function createParticles(
  { engine, dllm, clip }: Models,
  imageEmbeds: NativeTensor,
  seeds: bigint[],
  options: ResolvedOptions,
): NativeParticles {
  return new native.Particles(engine, dllm.graph(), clip.textGraph(), imageEmbeds, clip.embedSize, {
    images: seeds.length,
    particlesPerImage: options.particles,
    length: options.length,
    steps: options.steps,
    maskId: dllm.maskId,
    suppressed: Int32Array.from(dllm.suppressed),
    stops: Int32Array.from(dllm.stops),
    minLength: options.minLength,
    countAll: options.couplingOver === 'all',
    temperature: options.temperature,
    lambdaClip: options.lambdaClip,
    lambdaEdit: options.lambdaEdit,
    seeds: BigUint64Array.from(seeds),
  });
}

/** λ_CLIP·r_CLIP + λ_edit·r_edit. */
function total(rewardClip: number, rewardEdit: number, { lambdaClip, lambdaEdit }: ResolvedOptions): number {
  return lambdaClip * rewardClip + lambdaEdit * rewardEdit;
}

/** Slots of one image by total reward, best first; ties by lower slot. */
function ranking({ rewardClip, rewardEdit }: TraceStep, options: ResolvedOptions): number[] {
  const totals = rewardClip.map((clip, slot) => total(clip, rewardEdit[slot] ?? NaN, options));
  return totals.map((_, slot) => slot).sort((a, b) => (totals[b] ?? 0) - (totals[a] ?? 0) || a - b);
}

function distinctTexts(texts: string[]): { distinct: string[]; indexOf: Int32Array } {
  const distinct = [...new Set(texts)];
  const index = new Map(distinct.map((text, i) => [text, i]));
  return { distinct, indexOf: Int32Array.from(texts, (text) => index.get(text) ?? 0) };
}

function fail(): never {
  throw new FkinvError('INTERNAL', 'the sampler lost a particle');
}

function identity(particles: number, perImage: number): number[] {
  return Array.from({ length: particles }, (_, particle) => particle % perImage);
}

function rowsOf(values: Int32Array | Float32Array, width: number): number[][] {
  return Array.from({ length: values.length / width }, (_, i) => Array.from(values.slice(i * width, (i + 1) * width)));
}

/** The result of each image: its particles ranked, and S of the best. */
async function collect(
  native: NativeParticles,
  dllm: Dllm,
  traces: TraceStep[][],
  options: ResolvedOptions,
  stopwatch: Stopwatch,
): Promise<Sampled[]> {
  const { tokens, logProb, stages } = await native.finish();
  for (const { name, ms, calls } of stages) stopwatch.add(name, ms, calls);
  const rows = rowsOf(tokens, options.length);
  const results: Sampled[] = [];
  for (const [image, trace] of traces.entries()) {
    const first = image * options.particles;
    const last = trace.at(-1) ?? fail();
    const particles = ranking(last, options).map((slot): Particle => {
      const ids = rows[first + slot] ?? [];
      const rewardClip = last.rewardClip[slot] ?? NaN;
      const rewardEdit = last.rewardEdit[slot] ?? NaN;
      const reward = total(rewardClip, rewardEdit, options);
      return {
        prompt: dllm.decode(ids),
        rewardClip,
        rewardEdit,
        reward,
        logProb: logProb[first + slot] ?? NaN,
        tokens: ids,
        slot,
      };
    });
    const best = particles[0] ?? fail();
    const { gram, counted, mean, variance } = await native.similarity(first + best.slot);
    const coupling: Coupling = {
      matrix: rowsOf(gram, options.length),
      labels: best.tokens.map((id) => dllm.label(id)),
      counted: Array.from(counted, Boolean),
      mean,
      deviation: Math.sqrt(variance),
    };
    results.push({ particles, coupling, trace });
  }
  return results;
}
