import type { Dllm } from '../models/dllm';
import type { Models } from '../models/replicas';
import { FkinvError } from '../errors';
import type { Coupling, Particle, TraceStep } from '../inversion';
import {
  native,
  type NativeDllmGraph,
  type NativeFailure,
  type NativeOutcome,
  type NativeParticleOptions,
  type NativeParticles,
  type NativeRecorder,
  type NativeTensor,
} from '../native/addon';
import type { ResolvedOptions } from './resolved-options';
import { redrawBanned } from './redraw';
import { StepTexts } from './step-texts';
import { eachReward, rewards, totalOf, type RewardValues } from './rewards/list';
import { valuesOfTexts } from './rewards/reward';
import type { Stopwatch } from '../profiling/stopwatch';
import { Ended, type Listener } from './listener';

/**
 * One image: its reference embeddings [1, E], one or several that are averaged; the features that the dLLM's own tower gave, where it
 * gives any; the ids before the prompt; its seed; its listener.
 */
export interface Reference {
  embeds: NativeTensor[];
  features?: NativeTensor | undefined;
  prefix: number[];
  seed: bigint;
  listener: Listener;
}

/** What sampling one image gave: its particles, best first, S of the best one, and the trace. */
export interface Sampled {
  particles: Particle[];
  coupling: Coupling;
  trace: TraceStep[];
}

/**
 * Feynman-Kac steered sampling of images × K particles: the T + 1 forwards and steps 1 to 7 of the method, in its order. The images'
 * prefixes are of one length; the same `suffix`, by default the dLLM's own, stands behind the prompts of all. Results are in the images' order; an image that fails gives its error, one that its listener ends gives {@link Ended}, from
 * the next step on, and what happens to one does not depend on the others. Throws what stops all of them.
 */
export async function sample(
  models: Models,
  images: Reference[],
  options: ResolvedOptions,
  stopwatch: Stopwatch,
  suffix?: readonly number[],
): Promise<(Sampled | FkinvError | Ended)[]> {
  const graph = models.dllm.graph(suffix);
  const particles = await createParticles(models, graph, images, options, stopwatch.recording?.recorder);
  const sampling = new Sampling(particles, models, images, options, stopwatch);
  for (const { listener } of images) listener.onEnded = () => sampling.cancelIfAllEnded();
  try {
    return await sampling.run();
  } finally {
    for (const { listener } of images) listener.onEnded = () => undefined;
    sampling.release();
  }
}

/** The state of one call of {@link sample}, whose methods are its stages. */
class Sampling {
  readonly #traces: TraceStep[][];
  /** Why each image is left out; undefined for one that goes on. */
  readonly #failures: (FkinvError | Ended | undefined)[];
  /** All images before this one are left out or ended, and stay so. */
  #firstLeft = 0;

  readonly #particles: NativeParticles;

  constructor(
    particles: NativeParticles,
    private readonly models: Models,
    private readonly images: Reference[],
    private readonly options: ResolvedOptions,
    private readonly stopwatch: Stopwatch,
  ) {
    this.#particles = particles;
    this.#traces = images.map(() => []);
    this.#failures = images.map(() => undefined);
  }

  /** Stops what the engine does for the images when none is left that anybody waits for. */
  cancelIfAllEnded(): void {
    const isOver = (image: number): boolean =>
      this.#failures[image] !== undefined || this.images[image]?.listener.ended !== undefined;
    while (this.#firstLeft < this.images.length && isOver(this.#firstLeft)) this.#firstLeft++;
    if (this.#firstLeft === this.images.length) this.#particles.cancel();
  }

  release(): void {
    this.#particles.release();
  }

  async run(): Promise<(Sampled | FkinvError | Ended)[]> {
    this.cancelIfAllEnded(); // an image may have been ended before anybody listened
    try {
      await this.#steps();
      this.#noteEnded();
      return await this.#collect();
    } catch (error) {
      this.#noteEnded();
      if (!this.#allFailed() || !this.#failures.some((failure) => failure instanceof Ended)) throw error;
      return this.#failures.map((failure) => failure ?? lost()); // cancelled, as nobody waits: each image has its reason
    }
  }

  /** Leaves out the images that their callers have ended since the last time, and gives their indices. */
  #noteEnded(): number[] {
    return this.images.flatMap(({ listener: { ended } }, image) => {
      if (ended === undefined || this.#failures[image] !== undefined) return [];
      this.#leaveOut(image, ended);
      return [image];
    });
  }

  /** Leaves out the images that their callers have ended, and has the engine compute them no further. */
  async #retireEnded(): Promise<void> {
    for (const image of this.#noteEnded()) await this.#particles.retire(image);
  }

  /** Leaves an image out with `why` as its result; an image that is left out already keeps the first reason. */
  #leaveOut(image: number, why: FkinvError | Ended): void {
    if (this.#failures[image] !== undefined) return;
    this.#failures[image] = why;
    this.images[image]?.listener.onLeftOut(why);
  }

  async #steps(): Promise<void> {
    const { dllm, clip } = this.models;
    const stepTexts = new StepTexts(clip);
    const { length, bans } = this.options;
    const { pinned } = this.options;
    const particles = this.#particles;
    /** x_t [particles, length]; only the search for banned words reads it. */
    let tokens = repeat(
      pinned.map((id) => (id < 0 ? dllm.maskId : id)),
      this.images.length * this.options.particles,
    );
    for (let step = 0; ; step++) {
      this.stopwatch.lap(`step ${step}`);
      await this.#retireEnded();
      if (this.#allFailed()) break;

      // 1, 2. z = dLLM(x_t, c) once for each distinct state, none for those of the step before; S, row statistics and tile
      // table from one read of z.
      const { states, forwards, failures } = await particles.denoise();
      this.stopwatch.forwards += forwards;
      this.#note(failures);
      if (this.#allFailed()) break;

      // 3. Clean guesses x̂_0 of each particle; at t = 0 they are x_0 itself.
      const { tokens: guesses, failures: faults } = await particles.guess(step);
      this.#note(faults);
      if (this.#allFailed()) break;
      if (bans !== undefined) await this.#redraw(step, false, guesses, tokens);

      // 4. The guesses' texts and rewards. The engine encodes equal texts once, and texts of the step before not again.
      const texts = this.stopwatch.time('decodeText', () =>
        rowsOf(guesses, length).map((row, i) => (this.#hasFailed(i) ? undefined : dllm.prompt(row))),
      );
      const batch = this.stopwatch.time('tokenizeText', () => stepTexts.batch(texts));
      const given = await valuesOfTexts(rewards, texts);
      // 5, 6, 7. log G_t onto the carried log-weights; ancestors within each image; positions open, and their tokens are
      // drawn from the ancestor's z. At t = 0 nothing is resampled, and nothing opens.
      const outcome = await particles.advance(step, batch, given);
      this.#note(outcome.failures);
      const { proposal } = outcome;
      const { ancestors, resampled } = proposal ?? this.#identity();

      this.#record(texts, { step, states, outcome, ancestors, resampled });
      await this.#retireEnded();
      if (proposal === undefined || this.#allFailed()) break;

      const before = bans === undefined ? tokens : this.#gather(tokens, ancestors);
      tokens = proposal.tokens;
      if (bans !== undefined) await this.#redraw(step, true, tokens, before);
      await particles.accept();
    }
    this.stopwatch.lap();
  }

  #note(failures: NativeFailure[]): void {
    for (const { image, code, message } of failures) this.#leaveOut(image, new FkinvError(code, message));
  }

  #allFailed(): boolean {
    return this.#failures.every((failure) => failure !== undefined);
  }

  /** Whether the image of a row of the guesses or the particles has failed. */
  #hasFailed(row: number): boolean {
    return this.#failures[this.#imageOf(row)] !== undefined;
  }

  #imageOf(row: number): number {
    const { particles: K } = this.options;
    return Math.floor((row % (this.images.length * K)) / K);
  }

  #identity(): { ancestors: Int32Array; resampled: Uint8Array } {
    const { particles: K } = this.options;
    return {
      ancestors: Int32Array.from({ length: this.images.length * K }, (_, particle) => particle % K),
      resampled: new Uint8Array(this.images.length),
    };
  }

  /** Gives each particle the row of `tokens` [particles, length] that its ancestor has. */
  #gather(tokens: Int32Array, ancestors: Int32Array): Int32Array {
    const { length, particles: K } = this.options;
    const gathered = new Int32Array(tokens.length);
    for (const [particle, slot] of ancestors.entries()) {
      const ancestor = particle - (particle % K) + slot;
      gathered.set(tokens.subarray(ancestor * length, (ancestor + 1) * length), particle * length);
    }
    return gathered;
  }

  /**
   * Draws again those of `tokens` that complete a banned word; `before` [particles, length] are the states they were drawn
   * into.
   */
  async #redraw(step: number, ofProposal: boolean, tokens: Int32Array, before: Int32Array): Promise<void> {
    const { bans, length, particles: K } = this.options;
    const { maskId } = this.models.dllm;
    if (bans === undefined) return;
    const drawn = new Map<number, number[]>();
    for (const row of Array(tokens.length / length).keys()) {
      if (this.#hasFailed(row)) continue;
      const first = (row * length) % before.length;
      const positions = Array.from({ length }, (_, n) => n);
      const isDrawn = (n: number): boolean => before[first + n] === maskId && tokens[row * length + n] !== maskId;
      drawn.set(row, positions.filter(isDrawn));
    }
    const stuck = await redrawBanned(this.#particles, bans, { step, ofProposal, tokens, length, drawn });
    for (const { row, position } of stuck) {
      const image = this.#imageOf(row);
      const what = `no way was found for particle ${row % K} past position ${position} without a banned word: ban less`;
      this.#leaveOut(image, new FkinvError('NOTHING_LEFT', what));
      await this.#particles.retire(image);
    }
  }

  /** Puts a step of each image onto its trace, and tells the image's listener of it. */
  #record(
    texts: (string | undefined)[],
    now: {
      step: number;
      states: Int32Array;
      outcome: NativeOutcome;
      ancestors: Int32Array;
      resampled: Uint8Array;
    },
  ): void {
    const { particles: K, steps } = this.options;
    const P = this.images.length * K;
    const means = eachReward(({ name }) => meanOverGuesses(now.outcome.rewards[name] ?? lost(), P));
    for (const [image, trace] of this.#traces.entries()) {
      if (this.#failures[image] !== undefined) continue;
      const ofImage = <T>(values: Iterable<T>): T[] => Array.from(values).slice(image * K, (image + 1) * K);
      const entry: TraceStep = {
        step: now.step,
        steps,
        states: now.states[image] ?? NaN,
        ...eachReward(({ field }) => ofImage(means[field])),
        logWeights: ofImage(now.outcome.logWeights),
        ess: now.outcome.ess[image] ?? NaN,
        ancestors: ofImage(now.ancestors),
        resampled: now.resampled[image] === 1,
        best: '',
      };
      entry.best = ofImage(texts)[ranking(entry, this.options)[0] ?? 0] ?? '';
      trace.push(entry);
      this.images[image]?.listener.hear(entry);
    }
  }

  /** The result of each image: its particles ranked, and S of the best. */
  async #collect(): Promise<(Sampled | FkinvError | Ended)[]> {
    const { tokens, logProb, stages } = await this.#particles.finish();
    for (const { name, ms, calls } of stages) this.stopwatch.add(name, ms, calls);
    const rows = rowsOf(tokens, this.options.length);
    const results: (Sampled | FkinvError | Ended)[] = [];
    for (const [image, trace] of this.#traces.entries()) {
      const first = image * this.options.particles;
      results.push(this.#failures[image] ?? (await this.#resultOf(trace, first, rows, logProb)));
    }
    const { recording } = this.stopwatch;
    if (recording !== undefined) Object.assign(recording, await this.#particles.copies());
    return results;
  }

  async #resultOf(trace: TraceStep[], first: number, rows: number[][], logProb: Float64Array): Promise<Sampled> {
    const { dllm } = this.models;
    const last = trace.at(-1) ?? lost();
    const particles = ranking(last, this.options).map((slot): Particle => {
      const ids = rows[first + slot] ?? lost();
      const values = rewardsIn(last, slot);
      return {
        prompt: dllm.prompt(ids),
        ...values,
        reward: totalOf(values, this.options),
        logProb: logProb[first + slot] ?? NaN,
        tokens: ids,
        slot,
      };
    });
    const best = particles[0] ?? lost();
    const { gram, counted, mean, variance } = await this.#particles.similarity(first + best.slot);
    const coupling: Coupling = {
      matrix: rowsOf(gram, this.options.length),
      labels: best.tokens.map((id) => dllm.label(id)),
      counted: Array.from(counted, Boolean),
      mean,
      deviation: Math.sqrt(variance),
    };
    return { particles, coupling, trace };
  }
}

function createParticles(
  { engine, dllm, clip }: Models,
  graph: NativeDllmGraph,
  images: Reference[],
  options: ResolvedOptions,
  recorder: NativeRecorder | undefined,
): Promise<NativeParticles> {
  const references = images.map(({ embeds }) => embeds);
  const prefixes = images.flatMap(({ prefix }) => prefix);
  const conditions = images.flatMap(({ features }) => features ?? []);
  const seeds = images.map(({ seed }) => seed);
  const given = particleOptions(dllm, options, { prefixes, seeds });
  const graphs = [graph, clip.textGraph()] as const;
  return native.createParticles(engine, ...graphs, references, clip.embedSize, given, conditions, recorder);
}

/** What the particle system must know of a call whose images have the `prefixes` [images, prefix] and `seeds` [images]. */
export function particleOptions(
  { maskId, stops, blockGrid }: Dllm,
  options: ResolvedOptions,
  { prefixes, seeds }: { prefixes: number[]; seeds: bigint[] },
): NativeParticleOptions {
  const { blockLength } = options;
  const before = blockGrid === 'row' ? (prefixes.length / seeds.length) % blockLength : 0;
  return {
    images: seeds.length,
    particlesPerImage: options.particles,
    length: options.length,
    steps: options.steps,
    guesses: options.guesses,
    maskId,
    suppressed: options.suppressed,
    restrictions: options.restrictions,
    stops: Int32Array.from(stops),
    pinned: options.pinned,
    prefixes: Int32Array.from(prefixes),
    countAll: options.couplingOver === 'all',
    temperature: options.temperature,
    topK: options.topK ?? 0,
    topP: options.topP,
    order: options.order,
    firstBlock: blockLength - before,
    blockLength,
    scheme: options.resampling,
    essThreshold: options.essThreshold,
    rewards: rewards.map(({ name, option, ofTexts }) => ({
      name,
      lambda: options[option],
      isGiven: ofTexts !== undefined,
    })),
    seeds: BigUint64Array.from(seeds),
  };
}

/** The rewards of the particle in one slot. */
function rewardsIn(step: TraceStep, slot: number): RewardValues {
  return eachReward(({ field }) => step[field][slot] ?? NaN);
}

/** The slots of one image ordered by total reward, best first; of equal ones the lower slot comes first. */
function ranking(step: TraceStep, options: ResolvedOptions): number[] {
  const totals = step.logWeights.map((_, slot) => totalOf(rewardsIn(step, slot), options));
  return totals.map((_, slot) => slot).sort((a, b) => (totals[b] ?? 0) - (totals[a] ?? 0) || a - b);
}

/** The mean over the guesses of `values` [guesses, particles], which the trace shows: [particles]. */
function meanOverGuesses(values: Float64Array, particles: number): Float64Array {
  const guesses = values.length / particles;
  if (guesses === 1) return values;
  return Float64Array.from({ length: particles }, (_, p) => {
    let sum = 0;
    for (let g = 0; g < guesses; g++) sum += values[g * particles + p] ?? NaN;
    return sum / guesses;
  });
}

function lost(): never {
  throw new FkinvError('INTERNAL', 'the sampler lost a particle');
}

function repeat(values: Int32Array, times: number): Int32Array {
  const all = new Int32Array(values.length * times);
  for (let i = 0; i < times; i++) all.set(values, i * values.length);
  return all;
}

function rowsOf(values: Int32Array | Float32Array, width: number): number[][] {
  return Array.from({ length: values.length / width }, (_, i) => Array.from(values.slice(i * width, (i + 1) * width)));
}
