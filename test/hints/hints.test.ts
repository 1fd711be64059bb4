// Words that CLIP finds in a picture: the list, its embeddings on the disk, and what an Inverter does with them.
import { readdirSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { FkinvError } from '../../lib/errors';
import { Hints } from '../../lib/hints/hints';
import { EmbeddedWords, hintsFor } from '../../lib/hints/ranking';
import { lemmasOf, readWords, type HintWord } from '../../lib/hints/words';
import { Inverter } from '../../lib/inverter';
import type { Inversion } from '../../lib/inversion';
import { PictureMemory } from '../../lib/images/budget';
import type { RawImage } from '../../lib/images/image';
import { preparePicture } from '../../lib/images/prepare';
import { Clip } from '../../lib/models/clip';
import { ModelFolder } from '../../lib/models/model-folder';
import { embedTexts, unit } from '../../lib/models/text-embeddings';
import { cache, withCache } from '../helpers/cache';
import { clip, collect, engine, fails, fixtures, folder, setUp } from '../helpers/manifest-folders';
import { root as packageRoot } from '../helpers/models-demo';
import { float32, int64, node, onnxFile } from '../onnx/builder';

withCache();
setUp();

const cacheFiles = (): string[] => {
  try {
    return readdirSync(path.join(cache, 'fkinv', 'hints')).map((name) => path.join(cache, 'fkinv', 'hints', name));
  } catch {
    return [];
  }
};

/** A list of any words, with embeddings of any directions. */
const lists = fc.tuple(fc.integer({ min: 2, max: 5 }), fc.integer({ min: 1, max: 12 })).chain(([size, count]) =>
  fc.record({
    words: fc.array(
      fc.record({
        text: fc.constantFrom(
          'cat',
          'cats',
          'tabby cat',
          'dog',
          'old dog',
          'sky',
          'sill',
          'window sill',
          'red',
          'reds',
        ),
        kind: fc.constantFrom('a', 'b'),
      }),
      { minLength: count, maxLength: count },
    ),
    rows: fc.array(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: size, maxLength: size }), {
      minLength: count,
      maxLength: count,
    }),
    picture: fc.array(fc.integer({ min: -9, max: 9 }), { minLength: size, maxLength: size }),
  }),
);

test('hints are apart from one another, of several kinds, and the best there are', (t) => {
  fc.assert(
    fc.property(lists, fc.integer({ min: 1, max: 6 }), ({ words, rows, picture }, most) => {
      const units = rows.map(
        (row) => unit(Float32Array.from(row)) ?? unit(Float32Array.from(row, () => 1)) ?? Float32Array.of(),
      );
      const list = new EmbeddedWords(words, Float32Array.from(units.flatMap((row) => [...row])));
      const found = hintsFor(Float32Array.from(picture), list, most);
      // The plain way: all words in their order, and each asked whether it may join.
      const mean = picture.map((_, e) => units.reduce((sum, row) => sum + (row[e] ?? NaN), 0) / units.length);
      const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
        Array.from(a).reduce((sum, x, i) => sum + x * (b[i] ?? NaN), 0);
      const scores = units.map((row) => {
        const apart = Array.from(row, (x, e) => x - (mean[e] ?? NaN));
        const distance = Math.sqrt(dot(apart, apart));
        return distance < 1e-3 ? 0 : dot(apart, picture) / distance;
      });
      const sorted = scores.map((_, i) => i).sort((i, j) => (scores[j] ?? 0) - (scores[i] ?? 0) || i - j);
      const gaps = sorted.slice(1).map((i, at) => (scores[sorted[at] ?? 0] ?? 0) - (scores[i] ?? 0));
      if (gaps.some((gap) => gap < 1e-4)) return; // rounding decides
      const most1 = new Set(words.map(({ kind }) => kind)).size > 1 ? Math.ceil(most / 2) : most;
      const taken: number[] = [];
      for (const i of sorted) {
        const lemmas = (word: number) => [...lemmasOf(words[word]?.text ?? '')];
        const clashes = taken.some(
          (other) =>
            lemmas(i).some((lemma) => lemmas(other).includes(lemma)) || dot(units[i] ?? [], units[other] ?? []) > 0.9,
        );
        const ofKind = taken.filter((other) => words[other]?.kind === words[i]?.kind).length;
        if (taken.length < most && !clashes && ofKind < most1) taken.push(i);
      }
      t.deepEqual(
        found,
        taken.map((i) => words[i]?.text),
      );
    }),
    { numRuns: 300 },
  );
});

test('lemmas: many and one, phrases and their words', (t) => {
  const same: [string, string][] = [
    ['cats', 'tabby cat'],
    ['Cherries', 'cherry tree'],
    ['boxes', 'box of pears'],
    ['women', 'Woman'],
    ['wine glasses', 'glass'],
    ['houses', 'country house'],
  ];
  for (const [a, b] of same)
    t.true(
      [...lemmasOf(a)].some((lemma) => lemmasOf(b).has(lemma)),
      `${a}, ${b}`,
    );
  const apart: [string, string][] = [
    ['piece of cake', 'pair of shoes'],
    ['bus', 'bud'],
    ['cat', 'cattle'],
    ['the sea', 'the sky'],
  ];
  for (const [a, b] of apart)
    t.false(
      [...lemmasOf(a)].some((lemma) => lemmasOf(b).has(lemma)),
      `${a}, ${b}`,
    );
});

test('a list of words: of the package, of a file, of a program', async (t) => {
  const own = await readWords();
  t.is(own.length, 5000);
  const kinds = new Set(own.map(({ kind }) => kind));
  t.deepEqual([...kinds].sort(), [
    'colour',
    'light',
    'look',
    'material',
    'medium',
    'person',
    'place',
    'style',
    'thing',
  ]);
  const file = path.join(cache, 'words.txt');
  await writeFile(file, '\ufeff# of a zoo\r\nred  panda\tanimal\r\n\r\n zebra \r\nred panda\tother\r\n');
  t.deepEqual(await readWords(file), [
    { text: 'red panda', kind: 'animal' },
    { text: 'zebra', kind: '' },
  ]);
  t.deepEqual(await readWords(['a', 'b\tc']), [
    { text: 'a', kind: '' },
    { text: 'b', kind: 'c' },
  ]);
  const load = (hintWords: string | string[]) => Inverter.load({ hintWords });
  await writeFile(file, '# nothing\n');
  await fails(t, load(file), 'INVALID_OPTION', 'hintWords', file, 'has no words');
  await fails(t, load([]), 'INVALID_OPTION', 'hintWords has no words');
  await fails(t, load(['x'.repeat(101)]), 'INVALID_OPTION', 'hintWords: word 1', '100 characters');
  await fails(t, load(['ok', 'a\u0007b']), 'INVALID_OPTION', 'word 2');
  await fails(t, load(path.join(cache, 'none.txt')), 'INVALID_OPTION', 'none.txt', 'ENOENT');
  await fails(t, load(cache), 'INVALID_OPTION', 'is no file');
  await fails(t, load(Array.from({ length: 50_001 }, (_, i) => `${i}`)), 'INVALID_OPTION', '50001 words');
  await fails(
    t,
    Inverter.load({ hintWords: 7 as never }),
    'INVALID_OPTION',
    'hintWords: must be a path, a file: URL or a list of words',
  );
});

test('models/hint-words.txt is what its script makes', async (t) => {
  const at = path.join(cache, 'made.txt');
  await promisify(execFile)(process.execPath, [path.join(packageRoot, 'scripts', 'hint-words.mjs'), at]);
  t.is(await readFile(at, 'utf8'), await readFile(path.join(packageRoot, 'models', 'hint-words.txt'), 'utf8'));
});

const wordList = (...texts: string[]): HintWord[] => texts.map((text) => ({ text, kind: '' }));
const nobody = (message: string): never => assertFails(message);
function assertFails(message: string): never {
  throw new Error(message);
}

/** How many texts CLIP embeds while `work` goes on. */
async function embeddedIn(work: () => Promise<unknown>): Promise<number> {
  const encode = clip.encodeText.bind(clip);
  let count = 0;
  clip.encodeText = (text) => {
    count++;
    return encode(text);
  };
  await work().finally(() => Reflect.deleteProperty(clip, 'encodeText')); // what is left is the class's own
  return count;
}

test.serial('words are embedded once, kept, and made anew where what is kept is damaged', async (t) => {
  const words = wordList('red cat', 'green dog', 'blue sky', 'tree');
  const picture = await embedTexts(clip, ['a photo of green dog']);
  const ask = async (list = words): Promise<string[]> =>
    new Hints(list, nobody).of([picture], 2, { clip, engine }, { ended: undefined });
  const before = new Set(cacheFiles());
  const first = new Hints(words, nobody);
  const some = () => Promise.all([1, 2, 3].map(() => first.of([picture], 2, { clip, engine }, { ended: undefined })));
  t.is(await embeddedIn(some), 4);
  t.is(await embeddedIn(some), 0);
  const [file = ''] = cacheFiles().filter((name) => !before.has(name));
  t.is(cacheFiles().length, before.size + 1);
  const kept = await readFile(file);
  const expected = await ask();
  t.is(expected[0], 'green dog');
  t.is(await embeddedIn(() => ask()), 0);

  const damaged: [string, Buffer | undefined][] = [
    ['gone', undefined],
    ['empty', Buffer.alloc(0)],
    ['cut', kept.subarray(0, kept.length - 4)],
    ['longer', Buffer.concat([kept, Buffer.alloc(4)])],
    ['one bit', Buffer.from(kept.map((byte, i) => (i === kept.length - 3 ? byte ^ 1 : byte)))],
    ['its hash', Buffer.from(kept.map((byte, i) => (i === 50 ? byte ^ 1 : byte)))],
  ];
  for (const [what, content] of damaged) {
    if (content === undefined) await rm(file);
    else await writeFile(file, content);
    t.is(await embeddedIn(async () => t.deepEqual(await ask(), expected, what)), 4, what);
    t.deepEqual(await readFile(file), kept, what);
  }

  // Other words are kept beside them.
  t.is(await embeddedIn(() => ask(wordList('red cat', 'green dog'))), 2);
  t.is(cacheFiles().length, before.size + 2);
});

test.serial('weights beside the text graph, whatever their file is called, tell one cache from another', async (t) => {
  const { text } = JSON.parse(await readFile(path.join(fixtures, 'weights.json'), 'utf8')) as { text: number[][] };
  const load = async (table: number[][]): Promise<Clip> => {
    const at = await folder('clip');
    const tensor = { ...float32([table.length, 4], table.flat()), location: '7c9e6679' };
    const graph = onnxFile({
      nodes: [node('Gather', 'text input_ids', 'each'), node('ReduceSum', 'each one', 'text_embeds', { keepdims: 0 })],
      inputs: [{ name: 'input_ids', type: 'int64', dims: ['texts', 'width'] }],
      output: { name: 'text_embeds', type: 'float32', dims: ['texts', 4] },
      constants: { text: tensor, one: int64([1], [1]) },
    });
    await writeFile(path.join(at, 'text_model.onnx'), graph);
    await writeFile(path.join(at, tensor.location), tensor.data);
    return Clip.load(engine, new ModelFolder(at));
  };
  const picture = await embedTexts(clip, ['a photo of green dog']);
  const words = wordList('red cat', 'green dog', 'blue sky');
  const best = async (by: Clip): Promise<string[]> =>
    new Hints(words, nobody).of([picture], 1, { clip: by, engine }, { ended: undefined });
  t.deepEqual(await best(await load(text)), ['green dog']);
  const before = cacheFiles().length;
  t.deepEqual(await best(await load(text)), ['green dog']);
  t.is(cacheFiles().length, before);
  await best(await load(text.map((row, i) => (i > 3 ? row.map((x) => -x - i) : row))));
  t.is(cacheFiles().length, before + 1);
});

test.serial('a cache that cannot be written is no error', async (t) => {
  const words = wordList('red', 'green', 'blue tree');
  const [picture] = [await embedTexts(clip, ['a photo of blue tree'])];
  const kept = process.env['XDG_CACHE_HOME'];
  const file = path.join(cache, 'a file');
  await writeFile(file, '');
  for (const place of [file, path.join(file, 'under it')]) {
    process.env['XDG_CACHE_HOME'] = place;
    const found = await new Hints(words, nobody).of([picture], 1, { clip, engine }, { ended: undefined });
    t.deepEqual(found, ['blue tree'], place);
  }
  process.env['XDG_CACHE_HOME'] = kept;
});

test.serial('no words are embedded for nobody, and whoever comes next is served', async (t) => {
  const hints = new Hints(wordList(...Array.from({ length: 100 }, (_, i) => `red ${i}`)), nobody);
  const [picture] = [await embedTexts(clip, ['red'])];
  const waiting = { ended: undefined as unknown };
  const left = hints.of([picture], 1, { clip, engine }, waiting);
  waiting.ended = 'gone';
  await fails(t, left, 'ABORTED');
  t.is((await hints.of([picture], 1, { clip, engine }, { ended: undefined })).length, 1);
});

/** A picture of one colour. */
const colour = (red: number, green: number, blue: number): RawImage => ({
  data: Uint8Array.from({ length: 4 * 4 * 3 }, (_, i) => [red, green, blue][i % 3] ?? 0),
  width: 4,
  height: 4,
  channels: 3,
});
const pictures = [
  colour(255, 0, 0),
  colour(0, 255, 0),
  colour(0, 0, 255),
  colour(0, 0, 0),
  colour(255, 255, 0),
  colour(90, 90, 200),
];
const hintWords = ['red', 'green cat', 'blue dog tree', 'sky', 'and with sky cat'];
// So that the first five ids of a row, on which the predictions depend, are also those behind the prompt.
const quick = { particles: 3, steps: 2, length: 3, minLength: 3, hints: 1 };

/** A dLLM whose predictions depend on the first five ids of a row, where the hints stand. */
async function openTold(t: ExecutionContext, more: object = {}): Promise<Inverter> {
  const manifest = {
    condition: 'none',
    prefix: 'red {instruction}',
    instruction: { text: 'cat', hints: 'with {hints}' },
    maxPositions: 13,
    ...more,
  };
  const dllm = await folder('dllm', { graph: 'dllm_told', manifest });
  const inverter = await Inverter.load({ dllm, clip: path.join(fixtures, 'clip'), hintWords });
  t.teardown(() => inverter.dispose());
  return inverter;
}

function essence(result: Inversion | FkinvError): unknown {
  if (result instanceof FkinvError) throw result;
  return { ...result, timings: undefined };
}

for (const [what, more] of [
  ['prefix', {}],
  ['suffix', { prefix: 'red', suffix: '{instruction}', instruction: { text: '', hints: '{hints}' } }],
] as const) {
  test.serial(`hints in the ${what}: each image has what it has alone, whatever is in flight beside it`, async (t) => {
    const inverter = await openTold(t, more);
    const alone = [];
    for (const picture of pictures) alone.push(await inverter.invert(picture, quick));
    const lengths = new Set(alone.map(({ hints: [hint = ''] }) => hint.split(' ').length));
    t.true(lengths.size >= 3, JSON.stringify(alone.map(({ hints }) => hints)));
    for (const maxBatch of [3, 9, 64]) {
      const together = await collect(inverter.invertAll([...pictures, ...pictures], { ...quick, maxBatch }));
      t.deepEqual(together.map(essence), [...alone, ...alone].map(essence), `${maxBatch}`);
    }
    const images = (await collect(inverter.invertAll([...pictures, ...pictures], quick))).map(
      (one) => (one as Inversion).timings.images,
    );
    t.true(
      images.some((count) => count > 1),
      images.join(),
    );
    t.true(Math.max(...images) < pictures.length * 2);
  });
}

test.serial('what the dLLM is told decides what it writes', async (t) => {
  const inverter = await openTold(t);
  const still = { ...quick, particles: 1, temperature: 0, lambdaClip: 0, lambdaEdit: 0, order: 'confidence' } as const;
  const prompts = new Set<string>();
  for (const picture of pictures) prompts.add((await inverter.invert(picture, still)).prompt);
  t.true(prompts.size > 1, [...prompts].join());
  const silent = new Set<string>();
  for (const picture of pictures) {
    const { prompt, hints } = await inverter.invert(picture, { ...still, hints: 0 });
    silent.add(prompt);
    t.deepEqual(hints, []);
  }
  t.is(silent.size, 1);
  const asked = await inverter.invert(pictures[0] ?? colour(0, 0, 0), { ...still, hints: 0, instruction: 'blue tree' });
  t.false(silent.has(asked.prompt), asked.prompt);
});

test.serial('several pictures as one reference have hints of their average', async (t) => {
  const inverter = await openTold(t, { maxPositions: 30 });
  const [red = colour(0, 0, 0), green = red] = pictures;
  const { hints, timings } = await inverter.invert([red, green], { ...quick, hints: 3 });
  t.is(timings.stages['hints']?.calls, 1);
  const embeds: Float32Array[] = [];
  const words = await readWords(hintWords);
  const list = new EmbeddedWords(
    words,
    await embedTexts(
      clip,
      words.map(({ text }) => `a photo of ${text}`),
    ),
  );
  for (const picture of [red, green]) {
    const { images } = await preparePicture(picture, [clip.preprocessor], new PictureMemory(2 ** 28));
    const tensor = await clip.encodeImage(images[0] ?? assertFails('no picture'));
    embeds.push(unit(await tensor.read()) ?? assertFails('zero'));
  }
  const mean = (embeds[0] ?? Float32Array.of()).map((x, i) => x + (embeds[1]?.[i] ?? NaN));
  t.deepEqual(hints, hintsFor(mean, list, 3));
});
