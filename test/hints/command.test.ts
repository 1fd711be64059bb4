// Instruction and hints on the command line.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import type { Inversion } from '../../lib/inversion';
import { cache, withCache } from '../helpers/cache';
import { fkinv, fkinvEach } from '../helpers/fkinv';
import { fixtures, folder, setUp } from '../helpers/manifest-folders';

withCache();
setUp();

const quick = ['--particles', '2', '--steps', '2', '--length', '4'];

/** Flags of a dLLM that is told by its template, and of a list of words. */
async function models(): Promise<string[]> {
  const manifest = {
    condition: 'none',
    prefix: 'red {instruction}',
    instruction: { text: 'cat', hints: 'with {hints}' },
    maxPositions: 40,
  };
  const dllm = await folder('dllm', { graph: 'dllm_told', manifest });
  const words = path.join(cache, 'words.txt');
  await writeFile(words, 'red\ngreen cat\nblue dog tree\nsky\n');
  return ['--dllm', dllm, '--clip', path.join(fixtures, 'clip'), '--hint-words', words];
}

async function picture(): Promise<string> {
  const file = path.join(cache, 'picture.png');
  await sharp({ create: { width: 8, height: 8, channels: 3, background: '#0000ff' } })
    .png()
    .toFile(file);
  return file;
}

test.serial('--hints, --hint-words and --instruction', async (t) => {
  const [flags, file] = [await models(), await picture()];
  const invert = async (...more: string[]): Promise<Inversion> => {
    const { stdout, stderr } = await fkinv('invert', file, ...flags, ...quick, '--json', ...more);
    t.is(stderr, '');
    return JSON.parse(stdout) as Inversion;
  };
  const usual = await invert();
  t.true(usual.hints.length >= 1); // most of these few words are almost the same to so small a CLIP
  const silent = await invert('--hints', 'off');
  t.deepEqual(silent.hints, []);
  t.notDeepEqual(silent.particles, usual.particles);
  t.notDeepEqual((await invert('--hints', '0', '--instruction', 'blue tree')).particles, silent.particles);
  const { stdout } = await fkinv('invert', file, ...flags, ...quick, '--hints', '1');
  t.true(stdout.includes(`\n  hints ${usual.hints[0] ?? ''}\n`), stdout);

  const refused = await fkinvEach([
    ['invert', file, '--hints', 'many'],
    ['invert', file, '--hints', '21'],
    ['invert', file, '--instruction', ' '],
    ['invert', file, '--instruction', 'a dog'],
    ['invert', file, '--hints', '3'],
    ['invert', file, '--hint-words', path.join(cache, 'none.txt')],
  ]);
  const said = [
    /'--hints <n>'.* 0 to 20/,
    / 0 to 20/,
    /must be a text, and not empty/,
    /instruction: .* no place/,
    /hints: .* no place/,
    /none\.txt/,
  ];
  for (const [i, { code, stderr }] of refused.entries()) {
    t.is(code, 2);
    t.regex(stderr, said[i] ?? /^$/);
    t.is(stderr.trim().split('\n').length, 1, stderr);
  }
});

test.serial(
  'a batch has the hints of each image in its records and in its table, and what list they are of',
  async (t) => {
    const [flags, file] = [await models(), await picture()];
    const [out, csv] = ['out.jsonl', 'out.csv'].map((name) => path.join(cache, name)) as [string, string];
    const batch = (...more: string[]) =>
      fkinv('batch', file, ...flags, ...quick, '--hints', '2', '--out', out, '--csv', csv, ...more);
    t.is((await batch()).code, 0);
    const record = JSON.parse(await readFile(out, 'utf8')) as {
      hints: string[];
      models: Record<string, string>;
      options: object;
    };
    t.true(record.hints.length >= 1);
    t.like(record.options, { hints: 2 });
    t.regex(record.models['hintWords'] ?? '', /^[0-9a-f]{64}$/);
    const [names = '', row = ''] = (await readFile(csv, 'utf8')).split('\n');
    t.true(names.split(',').includes('hints'));
    t.true(row.includes(record.hints.join(', ')), row);
    // Results of another list are no continuation of these.
    await writeFile(flags.at(-1) ?? '', 'sky\ngreen\n');
    const other = await batch();
    t.is(other.code, 2);
    t.true(other.stderr.includes('models.hintWords'), other.stderr);
  },
);
