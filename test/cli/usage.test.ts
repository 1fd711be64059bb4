// Help texts, colours, and what a wrong command line is told.
import { Command } from 'commander';
import path from 'node:path';
import test from 'ava';
import { rewards } from '../../lib/sampling/rewards/list';
import { addInvertFlags } from '../../lib/cli/invert-flags';
import { invertAllSchema } from '../../lib/options';
import { bells, fkinv, fkinvEach, fkinvIn, quick, root } from '../helpers/fkinv';

const wrong: [string[], RegExp][] = [
  [['invert'], /missing required argument 'image' \(see fkinv invert --help\)/],
  [['invert', bells, '--particls', '3'], /^error: unknown option '--particls' \(did you mean --particles\?\)\n$/],
  [['invert', bells, '--particles', '0'], /--particles <K>.*whole number from 1 to 1024/],
  [['invert', bells, '--steps', 'many'], /--steps <T>.*whole number from 1 to 1000/],
  [['invert', bells, '--length', ''], /--length <N>.*whole number/],
  [['invert', bells, '--temperature', '0.05'], /--temperature.*0 or a number from 0.06 to 10/],
  [['invert', bells, '--seed', '18446744073709551616'], /--seed.*2\^64/],
  [['invert', bells, '--threads', '0'], /--threads.*from 1 to 256/],
  [['invert', bells, '--coupling-over', 'some'], /Allowed choices are text, all/],
  [['invert', bells, '--order', 'chance'], /Allowed choices are random, confidence, entropy, margin/],
  [['invert', bells, '--resampling', 'some'], /Allowed choices are multinomial/],
  [['invert', bells, '--top-p', '0'], /--top-p.*above 0, to 1/],
  [['invert', bells, '--banned', 'cat,,dog'], /separated by commas/],
  [['invert', bells, '--banned', 'cat,#-1'], /--banned <list>.*It has #-1: an id is a whole number, as #17\./],
  [['invert', bells, '--banned', '#1.5'], /It has #1\.5: an id is a whole number/],
  [['invert', '\u001b[2Jx.png\u009b', '--zeb\u001bra'], /'--zeb\\u001bra'/],
  [['zeb\u001bra'], /unknown command 'zeb\\u001bra'/],
  [['invert', bells, '--template', 'a [x]'], /template: .*\(TEMPLATE_INVALID\)/],
  [['invert', bells, '--template', 'a [4]', '--length', '5'], /length: cannot be given with template/],
  [['invert', bells, '--temperature', '0', '--order', 'margin'], /\(IDENTICAL_PARTICLES\)/],
  [['invert', bells, '--particles', '9', '--max-batch', '8'], /\(BATCH_TOO_LARGE\)/],
  [['invert', bells, '--length', '33'], /length: 33 is over the model's limit of 32/],
  [['invert', bells, '--particle', '3'], /\(did you mean --particles\?\)/],
  [['invert', bells, '--lambdaClip=3'], /\(did you mean --lambda-clip\?\)/],
  [['invert', bells, '--temp', '2'], /\(did you mean --template or --temperature\?\)/],
  [
    ['invert', bells, '--lambda', '2'],
    new RegExp(`\\(did you mean ${rewards.map(({ flag }) => flag).join(' or ')}\\?\\)`),
  ],
  [['invert', bells, '--batch', '9'], /\(did you mean --max-batch\?\)/],
  [['invert', bells, '--zebra'], /'--zebra' \(see fkinv invert --help\)\n$/],
  [['invert', bells, '-p', '3'], /'-p' \(see fkinv invert --help\)\n$/],
  [['invert', bells, '--seed'], /'--seed <n>' argument missing/],
  [['--seed', '3', 'invert', bells], /'--seed' \(it is one of fkinv invert, and stands after it\)/],
  [['--versio'], /\(did you mean --version\?\)/],
  [['invret', bells], /unknown command 'invret' \(did you mean invert\?\)/],
  [['picture.jpg', '--seed', '3'], /unknown command 'picture.jpg' \(did you mean fkinv invert picture.jpg\?\)/],
  [[path.join(root, 'LICENSE')], /did you mean fkinv invert .*LICENSE\?/],
  [['zebra'], /unknown command 'zebra' \(see fkinv --help\)\n$/],
  [['hlp'], /\(did you mean help\?\)/],
  [['models', ''], /'folder'. It is empty/],
  [['doctor', '--clip', ''], /--clip <folder>.*It is empty/],
  [['profile', bells, '--particles', '0'], /--particles <K>.*whole number from 1 to 1024/],
  [['profile', bells, bells], /too many arguments/],
  [['profile', bells, '--max-batch', '8'], /'--max-batch' \(see fkinv profile --help\)\n$/],
  [['profile', '--trace'], /'--trace <file>' argument missing/],
  [['help', 'invrt'], /unknown command 'invrt' \(did you mean invert\?\)/],
];
const outcomes = fkinvEach(wrong.map(([args]) => args));
for (const [i, [args, message]] of wrong.entries()) {
  test(`wrong usage comes to 2: ${args
    .join(' ')
    .replaceAll(root, '')
    .replaceAll(/\p{Cc}/gu, '?')}`, async (t) => {
    const { code, stdout, stderr } = (await outcomes)[i] ?? t.fail();
    t.is(code, 2);
    t.is(stdout, '');
    t.regex(stderr, message);
    t.regex(stderr, /^error: .*\n$/, 'one line');
  });
}

test('a process with wrong usage exits with 2', async (t) => {
  const { code, stdout, stderr } = await fkinv('invert', bells, '--zebra');
  t.deepEqual({ code, stdout }, { code: 2, stdout: '' });
  t.regex(stderr, /^error: unknown option '--zebra' .*\n$/);
});

test('the help of a command, however it is asked for', async (t) => {
  const asked = await fkinv('invert', '--help');
  t.is(asked.code, 0);
  t.is(asked.stderr, '');
  for (const heading of ['Prompt:', 'Sampler:', 'Rewards:', 'Models:', 'Output:', 'Examples:']) {
    t.true(asked.stdout.includes(`\n${heading}\n`), heading);
  }
  t.true(asked.stdout.split('\n').every((line) => line.length <= 80));
  t.deepEqual(await fkinv('help', 'invert'), asked);
  t.deepEqual(await fkinv('help'), await fkinv('--help'));
  t.regex((await fkinv('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('without a command it shows its help, as an error', async (t) => {
  const { code, stdout, stderr } = await fkinv();
  t.deepEqual({ code, stdout }, { code: 2, stdout: '' });
  t.is(stderr, (await fkinv('--help')).stdout);
  t.regex(stderr, /\n {2}invert \[options\] <image\.\.\.> /);
  t.regex(stderr, /Exit codes/);
});

/** Defaults that fit themselves to other options or to a model, and so are not in the schema. */
const fitted: Record<string, string> = { minLength: '4', blockLength: 'one block', topK: 'all', maxBatch: '64' };

test('every option of the library is a flag, whose help gives the default and the range that hold', (t) => {
  const { options } = addInvertFlags(new Command());
  for (const [name, schema] of Object.entries(invertAllSchema.shape)) {
    if (['signal', 'onStep', 'ordered'].includes(name)) continue;
    const flag = options.find((option) => option.attributeName() === name);
    const [, range = '', byDefault] = /\((.*); default (.*)\)$/.exec(flag?.description ?? '') ?? [];
    const holds = schema.safeParse(undefined).data as string | number | string[] | undefined;
    if (flag === undefined || Array.isArray(holds) || ['template', 'instruction'].includes(name)) {
      t.true(flag?.required, name);
      continue;
    }
    t.is(byDefault, holds === undefined ? fitted[name] : String(holds), name);
    if (flag.argChoices !== undefined) {
      t.is(range, flag.argChoices.join(', '));
      for (const choice of flag.argChoices) t.true(schema.safeParse(choice).success, choice);
      continue;
    }
    const takes = (value: string): void => {
      t.notThrows(() => flag.parseArg?.(value, undefined), `${name} ${value}`);
    };
    const refuses = (value: string): void => {
      t.throws(() => flag.parseArg?.(value, undefined), { code: 'commander.invalidArgument' }, `${name} ${value}`);
    };
    const numbers = range.replace('2^64 − 1', String(2n ** 64n - 1n));
    const [, low] = /(\d[\d.]*) (?:to|or more)/.exec(numbers) ?? [];
    const [, high] = / to (\d+)$/.exec(numbers) ?? [];
    t.false(low === undefined && high === undefined, name);
    if (low !== undefined) {
      takes(low);
      refuses(String(Number(low) - 1));
    }
    if (high !== undefined) {
      takes(high);
      refuses(String(BigInt(high) + 1n));
    }
  }
});

const escape = '\u001b';

test('colours: none in a pipe, in a CI either, unless they are forced', async (t) => {
  const runs: [NodeJS.ProcessEnv, boolean][] = [
    [{}, false],
    [{ CI: '1' }, false],
    [{ FORCE_COLOR: '1' }, true],
    [{ FORCE_COLOR: '0' }, false],
    [{ FORCE_COLOR: '1', NO_COLOR: '1' }, false],
  ];
  for (const [env, expected] of runs) {
    const what = JSON.stringify(env);
    const done = await fkinvIn(env, 'invert', bells, 'missing.png', ...quick);
    t.is(done.stdout.includes(escape), expected, what);
    t.is(done.stderr.includes(escape), expected, what);
  }
  for (const [env, expected] of runs.slice(1, 3)) {
    t.is((await fkinvIn(env, '--help')).stdout.includes(escape), expected);
    t.is((await fkinvIn(env)).stderr.includes(escape), expected);
  }
});
