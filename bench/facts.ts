// npm run bench:facts [-- --seeds 8 --scenes 64]
// How many of a scene's known facts the recovered prompts state, with each kind of steering, and what it is worth:
// means over scenes and seeds, deviations between seeds, and differences to no steering paired by scene.
import { parseArgs } from 'node:util';
import { Inverter } from 'fkinv-native';
import { ablations, loadScenes, measure, reference } from './scenes';
import { pairedDifference, summarise } from './statistics';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { seeds: { type: 'string', default: '8' }, scenes: { type: 'string', default: '64' } },
  });
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i);
  const scenes = loadScenes().slice(0, Number(values.scenes));
  await using inverter = await Inverter.load();
  const none = await measure(inverter, scenes, seeds, ablations.none);

  console.log(`${scenes.length} scenes, seeds 0 to ${seeds.length - 1}; ± is the deviation between seeds.`);
  console.log('Differences are to steering none, paired by scene, with 95 % intervals.\n');
  console.log('| steering | facts recovered | the reference’s | rewardClip | difference | rewardEdit | difference |');
  console.log('|---|---|---|---|---|---|---|');
  for (const [name, options] of Object.entries(ablations)) {
    const runs = name === 'none' ? none : await measure(inverter, scenes, seeds, options);
    const { facts, rewardClip, rewardEdit } = summarise(runs);
    const difference = (key: 'rewardClip' | 'rewardEdit'): string => {
      if (name === 'none') return '';
      const { mean, low, high } = pairedDifference(runs, none, key);
      return `${signed(mean)} (${signed(low)} to ${signed(high)})`;
    };
    const cells = [
      name,
      `${facts.mean.toFixed(3)} ± ${facts.deviation.toFixed(3)}`,
      reference[name] ?? '',
      rewardClip.mean.toFixed(4),
      difference('rewardClip'),
      rewardEdit.mean.toFixed(4),
      difference('rewardEdit'),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}

function signed(x: number): string {
  return `${x < 0 ? '−' : '+'}${Math.abs(x).toFixed(4)}`;
}

void main();
