// The method once more, particle by particle and in plain TypeScript over the public kernels: what lib/sampling/sampler.ts and
// cpp/particles/particles.cpp are held to. One image; every particle has a forward of its own. Banned words are not in it.
import { coupling, draw, philox, resample } from '../../lib/kernels';
import type { ResolvedOptions } from '../../lib/sampling/resolved-options';
import type { Models } from '../../lib/models/replicas';
import { parseTemplate } from '../../lib/sampling/template';
import { entropy, logModel, logProposal, margin } from './kernels/row';
import { logitsOf } from './models-demo';

interface Walker {
  tokens: number[];
  /** The logits [N, V] of its last forward, suppressed. */
  z: Float32Array;
  rewardClip: number;
  rewardEdit: number;
  /** Of the guesses of its last step; λ_CLIP·r_CLIP + λ_edit·r_edit of a single one. */
  total: number;
  logProb: number;
  logWeight: number;
}

export interface Walk {
  /** At the end, by slot. */
  walkers: Walker[];
  /** By step, then slot. */
  rewardClip: number[][];
  rewardEdit: number[][];
  logWeights: number[][];
  ancestors: number[][];
  /** By step. */
  resampled: boolean[];
  /** By step, the tokens of each of its distinct states. */
  states: Set<string>[];
}

enum Purpose {
  guess,
  proposal,
  opening,
  resampling,
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** The two uniforms of a counter (algorithm.md, Randomness). */
function uniforms(counter: [step: number, slot: number, position: number], purpose: number, seed: bigint, guess = 0) {
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  const [a = 0, b = 0, c = 0, d = 0] = philox([...counter, purpose * 2 ** 24 + guess], key);
  const uniform = (low: number, high: number): number =>
    Number(((BigInt(high) << 32n) | BigInt(low)) >> 11n) * 2 ** -53;
  return { u: uniform(a, b), inside: uniform(c, d) };
}

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * (b[i] ?? NaN), 0);
const cosine = (a: Float32Array, b: Float32Array): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

/** One reference of several images: the mean of their unit embeddings, of unit length. */
function average(embeds: Float32Array[]): Float32Array {
  const [first = new Float32Array()] = embeds;
  if (embeds.length === 1) return first;
  const unit = (v: number[]): number[] => v.map((x) => x / Math.sqrt(v.reduce((sum, y) => sum + y * y, 0)));
  const units = embeds.map((embed) => unit([...embed]));
  return Float32Array.from(unit(range(0, first.length).map((i) => mean(units.map((v) => v[i] ?? NaN)))));
}

function logMeanExp(values: number[]): number {
  const max = Math.max(...values);
  return max + Math.log(mean(values.map((value) => Math.exp(value - max))));
}

/** What of a dLLM is not the demo's. */
export interface Own {
  /** Logits [N, V] of the prompt positions that hold `tokens`. */
  forward: (tokens: number[]) => Promise<Float32Array>;
  /** Positions of the first block; default as many as the others have. */
  firstBlock?: number;
}

/** Walks one image, whose pictures have the embeddings `embeds`, from all masks to the end. */
export function walk(
  models: Models,
  embeds: Float32Array[],
  seed: bigint,
  options: ResolvedOptions,
  own?: Own,
): Promise<Walk> {
  const embed = average(embeds);
  const demo: Required<Own> = {
    forward: (tokens) => logitsOf(models, tokens, embed),
    firstBlock: options.blockLength,
  };
  return new Walking(models, embed, seed, options, { ...demo, ...own }).run();
}

class Walking {
  /** Tokens that a position must not hold, by position. */
  readonly #forbidden: number[][];

  constructor(
    private readonly models: Models,
    private readonly embed: Float32Array,
    private readonly seed: bigint,
    private readonly options: ResolvedOptions,
    private readonly own: Required<Own>,
  ) {
    const { length, minLength, pinned, banned, template } = options;
    const { dllm } = models;
    const afterSpace = template === undefined ? [] : parseTemplate(template, dllm.tokenizer, dllm.maxLength).afterSpace;
    const noSpace = range(0, dllm.vocab).filter((id) => !dllm.label(id).startsWith(' '));
    const everywhere = [...dllm.suppressed, ...banned.filter((entry) => typeof entry === 'number')];
    const lastFixed = Math.max(
      pinned.findLastIndex((id) => id !== -1),
      ...afterSpace,
    );
    this.#forbidden = range(0, length).map((n) => [
      ...everywhere,
      ...(n < minLength || n < lastFixed ? dllm.stops : []),
      ...(afterSpace.includes(n) ? noSpace : []),
    ]);
  }

  async run(): Promise<Walk> {
    const { dllm } = this.models;
    const { particles, pinned, steps } = this.options;
    const tokens = Array.from(pinned, (id) => (id === -1 ? dllm.maskId : id));
    const zero = { rewardClip: 0, rewardEdit: 0, total: 0, logProb: 0, logWeight: 0 };
    const lists = { rewardClip: [], rewardEdit: [], logWeights: [], ancestors: [], resampled: [], states: [] };
    const done: Walk = { walkers: [], ...lists };
    let walkers = range(0, particles).map((): Walker => ({ tokens, z: this.embed, ...zero }));
    for (let step = 0; ; step++) {
      done.states.push(new Set(walkers.map((walker) => walker.tokens.join(' '))));
      walkers = await Promise.all(walkers.map((walker, slot) => this.#look(walker, step, slot)));
      done.rewardClip.push(walkers.map(({ rewardClip }) => rewardClip));
      done.rewardEdit.push(walkers.map(({ rewardEdit }) => rewardEdit));
      done.logWeights.push(walkers.map(({ logWeight }) => logWeight));
      if (step === steps) return { ...done, walkers };
      const { survivors, ancestors, resampled } = this.#resample(walkers, step);
      done.ancestors.push(ancestors);
      done.resampled.push(resampled);
      walkers = survivors.map((walker, slot) => this.#propose(walker, step, slot));
    }
  }

  /** Steps 1 to 5: the forward, the guesses, their rewards and the potential. */
  async #look(walker: Walker, step: number, slot: number): Promise<Walker> {
    const { lambdaClip, lambdaEdit, guesses } = this.options;
    const z = await this.#forward(walker.tokens);
    const rewards = await Promise.all(
      range(0, guesses).map((g) => {
        const drawn = (n: number): number => this.#draw(z, n, [step, slot, n], Purpose.guess, g);
        return this.#rewardsOf(
          z,
          walker.tokens.map((id, n) => (this.#isMasked(id) ? drawn(n) : id)),
        );
      }),
    );
    const total = logMeanExp(rewards.map(({ clip, edit }) => lambdaClip * clip + lambdaEdit * edit));
    return {
      ...walker,
      z,
      rewardClip: mean(rewards.map(({ clip }) => clip)),
      rewardEdit: mean(rewards.map(({ edit }) => edit)),
      total,
      logWeight: walker.logWeight + total - walker.total,
    };
  }

  async #forward(tokens: number[]): Promise<Float32Array> {
    const z = await this.own.forward(tokens);
    for (const [n, ids] of this.#forbidden.entries()) {
      for (const id of ids) this.#row(z, n)[id] = -Infinity;
    }
    return z;
  }

  async #rewardsOf(z: Float32Array, guess: number[]): Promise<{ clip: number; edit: number }> {
    const { clip, dllm } = this.models;
    const ids = clip.tokenizer.encode(dllm.decode(guess));
    const input = { name: 'input_ids', data: BigInt64Array.from(ids, BigInt), rowShape: [ids.length] };
    const text = await (await clip.text.session.run(1, [input], 'text_embeds', [clip.embedSize])).read();
    const end = guess.findIndex((id) => dllm.stops.includes(id));
    const isCounted = (n: number): boolean => this.options.couplingOver === 'all' || end === -1 || n < end;
    const counted = Uint8Array.from(guess, (_, n) => (isCounted(n) ? 1 : 0));
    const { reward } = coupling(z, { positions: guess.length, vocab: dllm.vocab, counted });
    return { clip: cosine(text, this.embed), edit: reward[0] ?? NaN };
  }

  /** Step 6. */
  #resample(walkers: Walker[], step: number) {
    const { particles, resampling: scheme, essThreshold } = this.options;
    const logWeights = Float64Array.from(walkers, ({ logWeight }) => logWeight);
    const u = Float64Array.from(walkers, (_, k) => uniforms([step, k, 0], Purpose.resampling, this.seed).u);
    const { ancestors, ess } = resample(logWeights, { scheme, u });
    if (essThreshold < 1 && ess >= essThreshold * particles) {
      return { survivors: walkers, ancestors: range(0, particles), resampled: false };
    }
    const survivors = [...ancestors].flatMap((ancestor) => walkers.slice(ancestor, ancestor + 1));
    return {
      survivors: survivors.map((walker) => ({ ...walker, logWeight: 0 })),
      ancestors: [...ancestors],
      resampled: true,
    };
  }

  /** Step 7, from the z of the ancestor. */
  #propose(walker: Walker, step: number, slot: number): Walker {
    const { z } = walker;
    const { masked, count, chance } = this.#block(walker, step);
    const tokenAt = (n: number): [number, number] => [n, this.#draw(z, n, [step, slot, n], Purpose.proposal)];
    const isDue = (n: number): boolean => uniforms([step, slot, n], Purpose.opening, this.seed).u < chance;
    const bestOf = (score: (n: number) => number): number[] =>
      [...masked].sort((a, b) => score(b) - score(a) || a - b).slice(0, count);
    switch (this.options.order) {
      case 'random':
        return this.#accept(walker, new Map(masked.filter(isDue).map(tokenAt)));
      case 'entropy':
        return this.#accept(walker, new Map(bestOf((n) => -entropy(this.#row(z, n))).map(tokenAt)));
      case 'margin':
        return this.#accept(walker, new Map(bestOf((n) => margin(this.#row(z, n))).map(tokenAt)));
      case 'confidence': {
        const drawn = new Map(masked.map(tokenAt));
        return this.#accept(
          walker,
          drawn,
          bestOf((n) => logModel(this.#row(z, n), drawn.get(n) ?? NaN)),
        );
      }
    }
  }

  /** Of the block that is open at `step`: its masked positions, how many open, and with what chance by the order `random`. */
  #block({ tokens }: Walker, step: number): { masked: number[]; count: number; chance: number } {
    const { length, blockLength, steps, pinned } = this.options;
    const ends = [Math.min(this.own.firstBlock, length)];
    for (let end = ends[0] ?? 0; end < length; ends.push(end)) end = Math.min(end + blockLength, length);
    // Where the steps cannot be shared out evenly, a block begins with the first step that is not before its share.
    const firstSteps = [...ends.keys(), ends.length].map((block) => Math.floor((block * steps) / ends.length));
    const at = firstSteps.findLastIndex((firstStep) => firstStep <= step);
    const block = range(ends[at - 1] ?? 0, ends[at] ?? NaN);
    const free = block.filter((n) => pinned[n] === -1).length;
    const stepsOfBlock = (firstSteps[at + 1] ?? NaN) - (firstSteps[at] ?? NaN);
    const stepOfBlock = step - (firstSteps[at] ?? NaN);
    return {
      masked: block.filter((n) => this.#isMasked(tokens[n])),
      count: Math.floor(free / stepsOfBlock) + (stepOfBlock < free % stepsOfBlock ? 1 : 0),
      chance: 1 / (stepsOfBlock - stepOfBlock),
    };
  }

  /** Tokens of `drawn`, by position, into the positions that open; the weight is of all that were drawn. */
  #accept(walker: Walker, drawn: Map<number, number>, opened = [...drawn.keys()]): Walker {
    const next = { ...walker, tokens: [...walker.tokens] };
    for (const [n, token] of drawn) {
      const row = this.#row(walker.z, n);
      const logP = logModel(row, token);
      next.logWeight += logP - logProposal(row, token, this.options);
      if (!opened.includes(n)) continue;
      next.tokens[n] = token;
      next.logProb += logP;
    }
    return next;
  }

  #isMasked(id: number | undefined): boolean {
    return id === this.models.dllm.maskId;
  }

  #row(z: Float32Array, n: number): Float32Array {
    const { vocab } = this.models.dllm;
    return z.subarray(n * vocab, (n + 1) * vocab);
  }

  #draw(z: Float32Array, n: number, counter: [number, number, number], purpose: Purpose, guess = 0): number {
    const { temperature, topK, topP } = this.options;
    const { u, inside } = uniforms(counter, purpose, this.seed, guess);
    const options = {
      vocab: this.models.dllm.vocab,
      temperature,
      ...(topK !== undefined && { topK }),
      topP,
      u: Float64Array.of(u),
      uInside: Float64Array.of(inside),
    };
    return draw(this.#row(z, n), options)[0] ?? NaN;
  }
}
