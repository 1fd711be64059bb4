import { defineReward } from './reward';

/** The weight of {@link EditValues.rewardEdit}. */
export interface EditOptions {
  /** λ_edit, weight of the disentanglement reward. 0 (off) to 10000; default 20. */
  lambdaEdit?: number;
}

/** The disentanglement reward of a text. */
export interface EditValues {
  /** r_edit = 1 − (μ + σ) of the token-to-token similarity over the counted positions, at most 1: fully disentangled. */
  rewardEdit: number;
}

export const edit = defineReward({
  name: 'edit',
  lambda: 20,
  what: 'how little its words lean on one another, at most 1',
});
