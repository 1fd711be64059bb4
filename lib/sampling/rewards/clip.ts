import { defineReward } from './reward';

/** The weight of {@link ClipValues.rewardClip}. */
export interface ClipOptions {
  /** λ_CLIP, weight of the alignment reward. 0 (off) to 10000; default 100. */
  lambdaClip?: number;
}

/** The alignment reward of a text. */
export interface ClipValues {
  /** r_CLIP: cosine of the text's and the image's CLIP embeddings, −1 to 1. */
  rewardClip: number;
}

export const clip = defineReward({
  name: 'clip',
  lambda: 100,
  what: 'how near the prompt is to the image for CLIP, −1 to 1',
});
