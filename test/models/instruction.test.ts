// The instruction in a dLLM's template: docs/manifest.md says what is tested here.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { FkinvError } from '../../lib/errors';
import { Dllm } from '../../lib/models/dllm';
import { Surroundings } from '../../lib/models/instruction';
import { dllmManifest } from '../../lib/models/manifest';
import { ModelFolder } from '../../lib/models/model-folder';
import { Tokenizer } from '../../lib/models/tokenizer';
import { resolveOptions } from '../../lib/sampling/resolved-options';
import {
  blue,
  clip,
  engine,
  eos,
  fails,
  fixtures,
  folder,
  green,
  loadDllm,
  mask,
  red,
  setUp,
  unk,
  words,
  type Json,
} from '../helpers/manifest-folders';
import { root } from '../helpers/models-demo';

setUp();

const idOf = (word: string): number => 3 + words.indexOf(word);
const [cat, dog, withId, and] = [idOf('cat'), idOf('dog'), idOf('with'), idOf('and')];
const asking = (manifest: Json = {}) => ({
  graph: 'dllm_plain',
  manifest: {
    condition: 'none',
    prefix: 'red {instruction} <mask>',
    instruction: { text: 'cat', hints: 'and {hints}' },
    maxPositions: 12,
    ...manifest,
  },
});

test('the instruction stands in the prefix: the manifest’s own, or another in its place', async (t) => {
  const dllm = await loadDllm(asking({ suffix: 'blue {instruction}' }));
  t.deepEqual([dllm.prefix, dllm.suffix, dllm.maxLength], [[red, cat, mask], [blue, cat], 7]);
  const { prefix, suffix } = dllm.around({ instruction: 'dog with dog', length: 3 }, [], {});
  t.deepEqual(
    [prefix, suffix],
    [
      [red, dog, withId, dog, mask],
      [blue, dog, withId, dog],
    ],
  );
  t.deepEqual(dllm.lengthsWith('dog with dog'), { maxLength: 3, fixedLength: undefined });
  t.deepEqual(dllm.around({ length: 3 }, [], {}), { prefix: dllm.prefix, suffix: dllm.suffix, hints: [] });
});

test('hints stand behind the instruction, as many as a row has room for', async (t) => {
  const dllm = await loadDllm(asking());
  const hints = ['dog', 'tree', 'sky'];
  const told = (length: number) => dllm.around({ length }, hints, {});
  t.deepEqual(told(5), { prefix: [red, cat, and, unk, unk, idOf('sky'), mask], suffix: [], hints }); // "dog," is no word
  t.deepEqual(told(6), { prefix: [red, cat, and, unk, idOf('tree'), mask], suffix: [], hints: ['dog', 'tree'] });
  t.deepEqual(told(7), { prefix: [red, cat, and, dog, mask], suffix: [], hints: ['dog'] });
  t.deepEqual(told(8), { prefix: [red, cat, mask], suffix: [], hints: [] });
});

test('options: an instruction takes of the positions, and needs a place', async (t) => {
  const dllm = await loadDllm(asking());
  const resolve = (options: object) => resolveOptions(options, dllm);
  t.like(resolve({}), { length: 9, hints: 5, instruction: undefined });
  t.like(resolve({ instruction: 'green cat with dog', hints: 0 }), { length: 6, hints: 0 });
  const refuses = (options: object, message: RegExp, model = dllm) =>
    t.throws(() => resolveOptions(options, model), { instanceOf: FkinvError, code: 'INVALID_OPTION', message });
  refuses(
    { instruction: 'green cat with dog', length: 7 },
    /length: 7 is over the model's limit of 6 positions beside the instruction/,
  );
  refuses({ instruction: 'cat '.repeat(10) }, /instruction: it takes 1 positions more/);
  refuses({ instruction: ' ' }, /instruction: must be a text, and not empty/);
  refuses({ hints: 21 }, /hints: must be a whole number from 0 to 20/);
  t.not(resolve({ instruction: 'dog' }).key, resolve({ instruction: 'cat' }).key);

  const plain = await loadDllm({ graph: 'dllm_plain' });
  t.is(resolveOptions({}, plain).hints, 0);
  refuses({ instruction: 'dog' }, /instruction: the dLLM's template has no place for one/, plain);
  refuses({ hints: 1 }, /hints: the dLLM's template has no place for them/, plain);
  const silent = await loadDllm(asking({ instruction: { text: 'cat' } }));
  t.is(resolveOptions({ instruction: 'dog' }, silent).hints, 0);
  refuses({ hints: 1 }, /hints: the dLLM's template has no place for them/, silent);
  const fixed = await loadDllm({ ...asking({ maxPositions: undefined }), graph: 'dllm_length_of_6' });
  t.like(resolveOptions({}, fixed), { length: 3, hints: 0 });
  t.like(resolveOptions({ instruction: 'cat dog' }, fixed), { length: 2 });
  refuses({ hints: 1 }, /hints: they are of any length, and the graph of the dLLM fixes its positions/, fixed);
});

test('a dLLM that sees the image has hints only where they are asked for', async (t) => {
  const { manifest } = asking({ condition: { input: 'image_embeds', from: 'clip' } });
  const dllm = await loadDllm({ manifest });
  t.is(resolveOptions({}, dllm).hints, 0);
  t.is(resolveOptions({ hints: 3 }, dllm).hints, 3);
  t.is(resolveOptions({}, await loadDllm({ manifest: { ...manifest, defaults: { hints: 2 } } })).hints, 2);
});

test('manifests whose instruction has no place, or no text', async (t) => {
  const refused = (manifest: Json, ...named: string[]) =>
    fails(t, loadDllm(asking(manifest)), 'MODEL_INVALID', 'fkinv.json', ...named);
  await refused({ prefix: 'red' }, 'instruction: has no place');
  await refused({ instruction: undefined }, 'instruction: is missing');
  await refused(
    { instruction: { text: 'cat', hints: 'and' } },
    'instruction.hints: must have a place for them, {hints}',
  );
  await refused({ instruction: { hints: 'and {hints}' } }, 'instruction.text');
  await refused({ prefix: [red], suffix: undefined }, 'instruction: has no place');
  await refused({ defaults: { hints: 30 } }, 'defaults.hints');
});

const tokenizers = {
  'byte-level BPE': { folder: path.join(root, 'models', 'dllm'), specials: ['<eos>', '<mask>'] },
  WordPiece: { folder: path.join(fixtures, 'dllm'), specials: ['<eos>', '<mask>', '<unk>'] },
};
for (const [name, { folder, specials }] of Object.entries(tokenizers)) {
  test(`${name}: nothing in an instruction is read as a special token, and the template’s own tokens are`, async (t) => {
    const tokenizer = await Tokenizer.load(new ModelFolder(folder));
    const special = new Set(tokenizer.specialIds.filter((id) => id !== tokenizer.unknownId));
    const piece = fc.oneof(
      fc.constantFrom(
        ...specials,
        ...specials.flatMap((token) => [token.slice(1), token.slice(0, -1)]),
        'a cat',
        ' ',
        '<',
        '>',
        '{hints}',
        '$&',
      ),
      fc.string({ unit: 'grapheme', maxLength: 4 }),
    );
    const text = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
    // The template ends where the instruction begins in what may be half of a token.
    const templates = ['<mask>red {instruction}<eos>', 'a <{instruction}> b', '<ma{instruction}sk><eos> {instruction}'];
    fc.assert(
      fc.property(text, fc.constantFrom(...templates), (instruction, prefix) => {
        const own = tokenizer.encode(prefix.replaceAll('{instruction}', ''), { specials: false });
        const manifest = dllmManifest.parse({ prefix, instruction: { text: 'x' } });
        const ids = new Surroundings(manifest, tokenizer).with(instruction).prefix;
        // A template that is whole only without the instruction, `<ma` and `sk>`, has that token then alone.
        const wanted = prefix.includes('<ma{') ? [eos] : own.filter((id) => special.has(id));
        t.deepEqual(
          ids.filter((id) => special.has(id)),
          wanted,
        );
        if (
          instruction === '' ||
          specials.some((token) => prefix.replaceAll('{instruction}', instruction).includes(token))
        )
          return;
        t.deepEqual(
          ids,
          tokenizer.encode(
            prefix.replaceAll('{instruction}', () => instruction),
            { specials: false },
          ),
        );
      }),
    );
  });
}

test('without special tokens the template is encoded whole, as the model was trained', async (t) => {
  const tokenizer = await Tokenizer.load(new ModelFolder(path.join(root, 'models', 'dllm')));
  const manifest = dllmManifest.parse({
    prefix: 'ask: {instruction}.<eos>',
    instruction: { text: 'a red cat', hints: ' It may show: {hints}.' },
  });
  const surroundings = new Surroundings(manifest, tokenizer);
  const encode = (text: string) => tokenizer.encode(text, { specials: false });
  t.deepEqual(surroundings.own.prefix, encode('ask: a red cat.<eos>'));
  t.deepEqual(surroundings.with('two $& dogs').prefix, encode('ask: two $& dogs.<eos>'));
  t.deepEqual(
    surroundings.with(undefined, ['bell', 'red $1']).prefix,
    encode('ask: a red cat It may show: bell, red $1..<eos>'),
  );
  t.is(green - red, 1);
});

test('a special token of one character, which cannot be cut, is refused', async (t) => {
  const at = await folder('dllm');
  const file = path.join(at, 'tokenizer.json');
  await writeFile(file, (await readFile(file, 'utf8')).replaceAll('<eos>', '§'));
  const tokenizer = await Tokenizer.load(new ModelFolder(at));
  const manifest = dllmManifest.parse({ prefix: '§ red {instruction}', instruction: { text: 'cat' } });
  const surroundings = new Surroundings(manifest, tokenizer);
  t.deepEqual(surroundings.own.prefix, [eos, red, cat]);
  const message = 'instruction: "dog § dog" takes the special token §, which is no text: use other words';
  t.throws(() => surroundings.with('dog § dog'), { instanceOf: FkinvError, code: 'INVALID_OPTION', message });
  await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ prefix: '{instruction}', instruction: { text: '§' } }));
  await fails(t, Dllm.load(engine, new ModelFolder(at), clip), 'MODEL_INVALID', 'fkinv.json', 'special token §');
});
