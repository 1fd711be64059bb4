import type { Run } from './scenes';

export interface Mean {
  mean: number;
  /** Between seeds, with n − 1. */
  deviation: number;
}

/** Means over scenes and seeds. Facts are pooled over a seed's scenes: the share of all facts that is stated. */
export function summarise(runs: Run[]): { facts: Mean; rewardClip: Mean; rewardEdit: Mean } {
  const bySeed = [...groupBy(runs, ({ seed }) => seed).values()];
  const over = (value: (seedRuns: Run[]) => number): Mean => meanOf(bySeed.map(value));
  return {
    facts: over((r) => sum(r.map(({ stated }) => stated)) / sum(r.map(({ facts }) => facts))),
    rewardClip: over((r) => sum(r.map(({ rewardClip }) => rewardClip)) / r.length),
    rewardEdit: over((r) => sum(r.map(({ rewardEdit }) => rewardEdit)) / r.length),
  };
}

/** Mean difference of `a` to `b` over scenes (each a mean over its seeds), with its 95 % interval. */
export function pairedDifference(
  a: Run[],
  b: Run[],
  key: 'rewardClip' | 'rewardEdit',
): { mean: number; low: number; high: number } {
  const byScene = (runs: Run[]): Map<number, number> =>
    new Map(
      [...groupBy(runs, ({ scene }) => scene)].map(([scene, r]) => [scene, sum(r.map((x) => x[key])) / r.length]),
    );
  const other = byScene(b);
  const differences = [...byScene(a)].map(([scene, value]) => value - (other.get(scene) ?? NaN));
  const { mean, deviation } = meanOf(differences);
  const margin = (1.96 * deviation) / Math.sqrt(differences.length);
  return { mean, low: mean - margin, high: mean + margin };
}

function meanOf(values: number[]): Mean {
  const mean = sum(values) / values.length;
  const squares = sum(values.map((x) => (x - mean) ** 2));
  return { mean, deviation: Math.sqrt(squares / Math.max(1, values.length - 1)) };
}

function sum(values: number[]): number {
  return values.reduce((total, x) => total + x, 0);
}

function groupBy<T, K>(values: T[], key: (value: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const value of values) groups.set(key(value), [...(groups.get(key(value)) ?? []), value]);
  return groups;
}

/**
 * How many seconds `ours` takes for each of `theirs`, measured in pairs: the geometric mean of the pairs' ratios, with its
 * 95 % interval by Student's t (its quantile by the first terms of its expansion in 1/ν).
 */
export function ratioOf(ours: number[], theirs: number[]): { ratio: number; low: number; high: number } {
  const logs = ours.map((seconds, i) => Math.log(seconds / (theirs[i] ?? NaN)));
  const { mean, deviation } = meanOf(logs);
  const freedom = logs.length - 1;
  const margin = ((1.96 + 2.37 / freedom + 2.82 / freedom ** 2) * deviation) / Math.sqrt(logs.length);
  return { ratio: Math.exp(mean), low: Math.exp(mean - margin), high: Math.exp(mean + margin) };
}
