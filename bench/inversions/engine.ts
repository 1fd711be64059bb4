import { FkinvError, type Inversion, type Inverter } from 'fkinv-native';
import { loadScenes } from '../scenes';
import type { Job, Outcome } from './reference';

/** The demo models' default, of which the rows of a forward are a multiple. */
const particles = 8;

/** What {@link invertScenes} measured. */
export interface Measured extends Outcome {
  /** Milliseconds an image by stage. */
  stages: Record<string, number>;
  /** Rows of the dLLM a step, of all images that go through the steps together: the mean over steps and images. */
  rowsAStep: number;
}

/** The first scenes, inverted from file to prompt: decoding and encoding the images is part of the time. */
export async function invertScenes(inverter: Inverter, { count, batch, seed }: Job): Promise<Measured> {
  const files = loadScenes()
    .slice(0, count)
    .map(({ file }) => file);
  const start = performance.now();
  const results: Inversion[] = [];
  if (batch === 1) {
    for (const file of files) results.push(await inverter.invert(file, { particles, seed }));
  } else {
    for await (const result of inverter.invertAll(files, { particles, maxBatch: batch * particles, seed })) {
      if (result instanceof FkinvError) throw result;
      results.push(result);
    }
  }
  const seconds = (performance.now() - start) / 1000;
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const timings = results.map((result) => result.timings);
  const stages: Record<string, number> = {};
  for (const one of timings) {
    // Each image has the stages of all that went through the steps with it.
    const share = 1 / one.images / results.length;
    for (const [name, { ms }] of Object.entries(one.stages)) stages[name] = (stages[name] ?? 0) + ms * share;
  }
  const steps = results[0]?.trace.length ?? 0;
  return {
    secondsAnImage: seconds / results.length,
    rewardClip: mean(results.map(({ rewardClip }) => rewardClip)),
    rewardEdit: mean(results.map(({ rewardEdit }) => rewardEdit)),
    stages,
    rowsAStep: mean(timings.map(({ forwards }) => forwards)) / steps,
  };
}
