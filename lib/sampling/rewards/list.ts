import { clip, type ClipOptions, type ClipValues } from './clip';
import { edit, type EditOptions, type EditValues } from './edit';

// The rewards that steer the particles. Options, flags, help, results, ranking and CSV columns follow from this list, in
// its order; the two interfaces spell their names out for TypeScript and for the documentation, and are held to it below.

/** The weights of the rewards. */
export interface RewardOptions extends ClipOptions, EditOptions {}

/** The rewards of a text. */
export interface RewardValues extends ClipValues, EditValues {}

export const rewards = [clip, edit] as const;

/** For each reward, its values for all particles [K]. */
export type RewardLists = { [Field in keyof RewardValues]: number[] };

/** Compiles where the two interfaces name what the list does, no more and no less. */
type Listed = (typeof rewards)[number];
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
true satisfies Same<keyof RewardValues, Listed['field']>;
true satisfies Same<keyof RewardOptions, Listed['option']>;

/** The rewards among the fields of `result`. */
export function rewardsOf(result: RewardValues): RewardValues {
  return eachReward(({ field }) => result[field]);
}

/** An object of each reward's field and what `valueOf` gives for it, in the order of the list. */
export function eachReward<T>(valueOf: (reward: Listed) => T): Record<keyof RewardValues, T> {
  return Object.fromEntries(rewards.map((reward) => [reward.field, valueOf(reward)])) as Record<keyof RewardValues, T>;
}

/** The total reward Σ λ·r, which particles are ranked by. */
export function totalOf(values: RewardValues, options: Required<RewardOptions>): number {
  return rewards.reduce((sum, { option, field }) => sum + options[option] * values[field], 0);
}
