// End to end on all scenes with the defaults: what an image gives must not depend on what it is packed with, nor on the
// threads.
import test from 'ava';
import { FkinvError, Inverter, type Inversion, type InvertAllOptions } from 'fkinv-native';
import { loadScenes } from '../../bench/scenes';

const files = loadScenes().map(({ file }) => file);

/** What a seed decides. */
function essence({ prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace }: Inversion): string {
  return JSON.stringify({ prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace });
}

async function invertAll(threads: number, options: InvertAllOptions): Promise<Inversion[]> {
  await using inverter = await Inverter.load({ threads });
  const results: Inversion[] = [];
  for await (const result of inverter.invertAll(files, options)) {
    if (result instanceof FkinvError) throw result;
    results.push(result);
  }
  return results;
}

test('alone or among 20, on 1, 2 or 3 threads: the same prompts, and the same bits', async (t) => {
  const alone = await invertAll(2, { maxBatch: 8 });
  t.deepEqual(new Set(alone.map(({ timings }) => timings.images)), new Set([1]));
  for (const [threads, images] of [
    [2, 20],
    [1, 20],
    [1, 1],
    [3, 7],
  ] as const) {
    const packed = await invertAll(threads, { maxBatch: 8 * images });
    const prompts = packed.filter(({ prompt }, i) => prompt !== alone[i]?.prompt).length;
    const bits = packed.filter((inversion, i) => essence(inversion) !== essence(alone[i] ?? inversion)).length;
    t.log(
      `${threads} threads, ${images} images in flight: ${prompts} of ${files.length} prompts differ, ${bits} results`,
    );
    t.deepEqual({ prompts, bits }, { prompts: 0, bits: 0 });
  }
});
