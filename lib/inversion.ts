import type { FkinvError } from './errors';
import type { RewardLists, RewardValues } from './sampling/rewards/list';

/** What {@link Inverter.invert} resolves to. Plain data: `JSON.stringify` keeps all of it (a bigint seed excepted). */
export interface Inversion extends RewardValues {
  /** The recovered prompt T*: the text of the best particle. */
  prompt: string;
  /** Σ λ·r of the rewards, λ_CLIP·rewardClip + λ_edit·rewardEdit: what the particles are ranked by. */
  reward: number;
  /** Log-probability of the prompt's tokens under the dLLM, each as it was drawn along the chosen trajectory, in nats. */
  logProb: number;
  /** The dLLM's token ids of all N positions, the stop token and what follows it included. */
  tokens: number[];
  /** The token-to-token similarity S of the last step, from which rewardEdit is computed. */
  coupling: Coupling;
  /** All K particles, best first; the first is the prompt. */
  particles: Particle[];
  /** What happened at each of the T + 1 steps. */
  trace: TraceStep[];
  /** Words that CLIP found in the image and that the dLLM was told of, best first; empty with {@link ImageOptions.hints} 0. */
  hints: string[];
  /** The seed it was made with. */
  seed: number | bigint;
  /** How long it took, by stage. */
  timings: Timings;
  /** What a user should know, such as a prompt longer than CLIP reads; empty when all is well. */
  warnings: string[];
}

/** What {@link Inverter.invertAll} gives for an image with `ordered: false`. */
export interface Finished {
  /** The image's place in the iterable. */
  index: number;
  /** The image's inversion, or the error that it failed with. */
  result: Inversion | FkinvError;
}

/** Token-to-token similarity: which words of the prompt are coupled, and which are safe to swap. */
export interface Coupling {
  /** S [N, N]: S_ij = Σ_v p_i(v)·p_j(v), of the dLLM's predictions at positions i and j. */
  matrix: number[][];
  /** The text of each token [N]. */
  labels: string[];
  /** Which positions counted in mean and deviation [N]. */
  counted: boolean[];
  /** μ: mean of S_ij over the pairs i ≠ j of counted positions. */
  mean: number;
  /** σ: population standard deviation of S_ij over the same pairs. */
  deviation: number;
}

/** One of the K particles after the last step. */
export interface Particle extends RewardValues {
  /** The text of its tokens before the first stop token. */
  prompt: string;
  /** Σ λ·r of the rewards, λ_CLIP·rewardClip + λ_edit·rewardEdit: what the particles are ranked by. */
  reward: number;
  /** Log-probability of its tokens, each as it was drawn along its trajectory, in nats: 0 or less. */
  logProb: number;
  /** The dLLM's token ids of all N positions. */
  tokens: number[];
  /** Its slot among the K, by which {@link TraceStep} lists it. */
  slot: number;
}

/**
 * One step: entry k of every list is of the particle in slot k, before it was resampled. The rewards are those of its clean
 * guess, with several guesses their mean [K].
 */
export interface TraceStep extends RewardLists {
  /** Steps done: 0 at t = T, T at the end. */
  step: number;
  /** T: all steps. */
  steps: number;
  /** Distinct states: 1 at the start, K at most. The dLLM ran those that the step before did not have. */
  states: number;
  /**
   * Log-weights before resampling [K]: log G_t, the importance weight of the last proposal where that is not the model
   * (τ ≠ 1, topK, topP), and what was carried over from a step that did not resample.
   */
  logWeights: number[];
  /** Effective sample size, 1 to K. */
  ess: number;
  /** The slot of this step that each slot of the next one continues [K]: k for slot k in the last step. */
  ancestors: number[];
  /** Whether the particles were resampled: if not, ancestors are the identity and log-weights are carried over. */
  resampled: boolean;
  /** The clean guess with the highest reward. */
  best: string;
}

/** Milliseconds and calls by stage. */
export interface Timings {
  /** Milliseconds that its pictures took to decode, plus those from its turn for the engine to its result. */
  total: number;
  /** Images that went through the steps together: the stages are of all of them. */
  images: number;
  /**
   * Forwards of the dLLM for all of these images, of one row each: one for each distinct state that the step before did not
   * have.
   */
  forwards: number;
  /**
   * `decodeImage`, `encodeImage`, `hints` (where there are any), then for all steps together: `denoise` (the dLLM), `pass` (the one read of the logits),
   * `guess`, `decodeText` (tokens to text), `tokenizeText` (text to CLIP ids), `encodeText` (CLIP), `reward`, `resample`, `propose`.
   */
  stages: Record<
    string,
    {
      /** Milliseconds of all its calls together. */
      ms: number;
      /** How often it ran. */
      calls: number;
    }
  >;
}
