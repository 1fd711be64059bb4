import path from 'node:path';
import { FkinvError } from '../errors';
import type { Inversion } from '../inversion';
import { Inverter, type LoadOptions } from '../inverter';
import type { InvertOptions } from '../options';

// One inversion, and what must be true of it on every machine: for `fkinv doctor`.

/** The picture of the self-test. */
export const picture = path.join(__dirname, '..', '..', 'examples', 'bells.png');

/** Below what the embedded models give that picture (0.90 to 0.94 by seed), and above what they give one they do not know. */
const leastRewardClip = 0.85;

const weights = { lambdaClip: 100, lambdaEdit: 20 };

/** What the inversion is of, and what must come of it. */
export interface InversionTest {
  models: LoadOptions;
  /** Whether these are the package's own, which recover the picture. */
  isEmbedded: boolean;
  options: InvertOptions;
}

/**
 * Inverts a picture twice and checks what holds on every machine: all is finite, the reward is what its parts come to,
 * and equal seeds give equal results.
 * @throws FkinvError `INTERNAL` where it does not hold, or what the inversion fails with
 */
export async function checkInversion({ models, isEmbedded, options }: InversionTest): Promise<Inversion> {
  const [first, second] = await invertTwice(models, { ...options, ...weights, hints: 0, seed: 0 });
  const { prompt, rewardClip, rewardEdit, reward, particles } = first;
  const numbers = particles.flatMap((one) => [one.rewardClip, one.rewardEdit, one.reward, one.logProb]);
  expect(numbers.every(Number.isFinite), `a reward or a log-probability is not finite: ${numbers.join(' ')}`);
  const sum = weights.lambdaClip * rewardClip + weights.lambdaEdit * rewardEdit;
  expect(Math.abs(sum - reward) < 1e-6, `the reward is ${reward}, and its parts come to ${sum}`);
  const same = JSON.stringify(particles) === JSON.stringify(second.particles);
  expect(same, `one seed gave two results, “${prompt}” and “${second.prompt}” the best`);
  const least = isEmbedded ? leastRewardClip : -1;
  expect(rewardClip >= least, `the prompt “${prompt}” has rewardClip ${rewardClip}, below ${least}`);
  return first;
}

async function invertTwice(models: LoadOptions, options: InvertOptions): Promise<[Inversion, Inversion]> {
  const inverter = await Inverter.load(models);
  try {
    return [await inverter.invert(picture, options), await inverter.invert(picture, options)];
  } finally {
    await inverter.dispose();
  }
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new FkinvError('INTERNAL', otherwise);
}
