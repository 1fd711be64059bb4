import test from 'ava';
import { Inverter } from 'fkinv-native';
import { ablations, loadScenes, measure } from '../../bench/scenes';
import { pairedDifference, summarise } from '../../bench/statistics';

// What the method in plain PyTorch recovers with the defaults: the mean of 8 seeds, and the deviation between them.
const reference = { mean: 0.582, deviation: 0.025 };

test('facts recovered with the defaults over 8 seeds are no more than 0.03 below the reference’s', async (t) => {
  await using inverter = await Inverter.load();
  const { facts } = summarise(await measure(inverter, loadScenes(), [0, 1, 2, 3, 4, 5, 6, 7], {}));
  t.log(
    `${facts.mean.toFixed(3)} ± ${facts.deviation.toFixed(3)}; reference ${reference.mean} ± ${reference.deviation}`,
  );
  t.true(facts.mean >= reference.mean - 0.03);
});

test('each steering raises its reward over none, paired by scene', async (t) => {
  await using inverter = await Inverter.load();
  const scenes = loadScenes();
  const seeds = [0];
  const none = await measure(inverter, scenes, seeds, ablations.none);
  for (const [name, key] of [
    ['CLIP only', 'rewardClip'],
    ['both (default)', 'rewardClip'],
    ['similarity only', 'rewardEdit'],
  ] as const) {
    const runs = await measure(inverter, scenes, seeds, ablations[name]);
    const { mean, low, high } = pairedDifference(runs, none, key);
    t.log(`${key} with ${name}: +${mean.toFixed(4)} (${low.toFixed(4)} to ${high.toFixed(4)})`);
    t.true(low > 0, name);
  }
});
