// What follows from the list of rewards: options, flags, help, results and CSV columns; and the values of one over texts.
import { Command } from 'commander';
import test from 'ava';
import { Inverter } from '../../lib/inverter';
import { addSamplerFlags } from '../../lib/cli/invert-flags';
import { recordOf, recordSchema } from '../../lib/bulk/record';
import { columns } from '../../lib/bulk/table';
import { FkinvError } from '../../lib/errors';
import { invertSchema } from '../../lib/options';
import { rewards, totalOf } from '../../lib/sampling/rewards/list';
import { defineReward, lambdaRange, valuesOfTexts } from '../../lib/sampling/rewards/reward';
import { bells } from '../helpers/fkinv';

test('each reward has its option, with its default and the range of all', (t) => {
  const defaults: Record<string, unknown> = invertSchema.parse({});
  for (const { option, lambda } of rewards) {
    t.is(defaults[option], lambda, option);
    for (const out of [lambdaRange[0] - 1, lambdaRange[1] + 1])
      t.false(invertSchema.safeParse({ [option]: out }).success);
  }
});

test('each reward has its flag, and the flag its help', (t) => {
  const { options } = addSamplerFlags(new Command());
  const shown = options.filter(({ long }) => long?.startsWith('--lambda-') === true);
  t.deepEqual(
    shown.map(({ long, description }) => [long, description]),
    rewards.map(({ flag, field, lambda }) => [flag, `weight of ${field}; 0 is off (0 to 10000; default ${lambda})`]),
  );
});

test('each reward is in the result, its particles and its trace, in the total, in the record and in the CSV', async (t) => {
  const inverter = await Inverter.load({ threads: 1 });
  t.teardown(() => inverter.dispose());
  const options = { particles: 3, steps: 2, length: 5, lambdaClip: 7, lambdaEdit: 3 };
  const weights = invertSchema.parse(options);
  const inversion = await inverter.invert(bells, options);
  const fields = rewards.map(({ field }) => field);
  t.deepEqual(fields.slice(0, 2), ['rewardClip', 'rewardEdit'], 'who reads the columns counts on their order');
  const listed = (value: object): string[] => Object.keys(value).filter((key) => /^reward./.test(key));
  for (const value of [inversion, ...inversion.particles, ...inversion.trace]) t.deepEqual(listed(value), fields);
  for (const particle of inversion.particles) t.is(particle.reward, totalOf(particle, weights));
  const provenance = { seed: 0, options: {}, models: { dllm: '', clip: '' } };
  const record = recordSchema.parse(JSON.parse(JSON.stringify(recordOf('a.png', inversion, provenance))));
  t.deepEqual(listed(record), fields);
  t.deepEqual(
    columns.filter((column) => /^reward./.test(column)),
    fields,
  );
});

test('the names that follow from a reward’s own', (t) => {
  const { option, field, flag } = defineReward({ name: 'wordCount', lambda: 1, what: '' });
  t.deepEqual(
    { option, field, flag },
    {
      option: 'lambdaWordCount',
      field: 'rewardWordCount',
      flag: '--lambda-word-count',
    },
  );
});

test('a reward over texts values equal texts once, and a guess without one has 0', async (t) => {
  const asked: (readonly string[])[] = [];
  const ofTexts = (texts: readonly string[]): Promise<number[]> => {
    asked.push(texts);
    return Promise.resolve(texts.map(({ length }) => length));
  };
  const length = defineReward({ name: 'length', lambda: 1, what: '', ofTexts });
  const values = await valuesOfTexts([...rewards, length], ['cat', undefined, 'a dog', 'cat']);
  t.deepEqual(values, { length: Float64Array.of(3, 0, 5, 3) });
  t.deepEqual(asked, [['cat', 'a dog']]);
  for (const wrong of [[1], [1, NaN]]) {
    const broken = defineReward({ name: 'length', lambda: 1, what: '', ofTexts: () => wrong });
    const error = await t.throwsAsync(valuesOfTexts([broken], ['cat', 'a dog']), { instanceOf: FkinvError });
    t.is(error.code, 'INTERNAL');
    t.is(error.message, 'rewardLength of "a dog" is NaN, which is no finite number');
  }
});
