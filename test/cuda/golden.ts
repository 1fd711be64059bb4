// The golden cases for cuda_check.
import { golden } from '../helpers/kernels/golden';
import { goldenCases, goldenLogits } from '../helpers/kernels/similarity';

interface Potentials {
  cases: {
    particles: number;
    steps: number;
    lambdaClip: number;
    lambdaEdit: number;
    rewardClip: number[][];
    rewardEdit: number[][];
    never: { logWeights: number[][]; ess: number[] };
    always: { ancestors: number[][]; logPotential: number[][] };
  }[];
}

/** The golden cases in the order that cuda_check reads them, float64 after float64. */
export function goldenNumbers(): Float64Array {
  const couplings = goldenCases.flatMap((c) => [
    ...[c.positions, c.vocab, ...goldenLogits(c), ...c.gram.flat(), ...c.entropy, c.reward],
  ]);
  const { cases } = golden('potential.json') as Potentials;
  const potentials = cases.flatMap((c) => [
    ...[c.particles, c.steps, c.lambdaClip, c.lambdaEdit],
    ...c.rewardClip.flatMap((clip, step) => [
      ...clip,
      ...(c.rewardEdit[step] ?? []),
      ...(c.never.logWeights[step] ?? []),
      ...(c.always.logPotential[step] ?? []),
      c.never.ess[step] ?? NaN,
      ...(c.always.ancestors[step] ?? new Array<number>(c.particles).fill(0)),
    ]),
  ]);
  const resamplings = golden('resampling.json') as { logWeights: (number | string)[]; ess: number }[];
  const sizes = resamplings.flatMap((c) => [
    c.logWeights.length,
    ...c.logWeights.map((w) => (w === '-inf' ? -Infinity : Number(w))),
    c.ess,
  ]);
  return Float64Array.of(goldenCases.length, ...couplings, cases.length, ...potentials, resamplings.length, ...sizes);
}
