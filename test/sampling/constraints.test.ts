// Templates and banned words, end to end on the demo models.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { FkinvError, Inverter, type ErrorCode, type Inversion, type InvertOptions } from 'fkinv-native';
import { loadDemo, root } from '../helpers/models-demo';
import { fragments, fragmentTokens } from '../onnx/models';

const bells = path.join(root, 'examples', 'bells.png');
const quick = { particles: 2, steps: 4 };

let inverter: Inverter;
test.before(async () => {
  inverter = await Inverter.load({ threads: 2 });
});
test.after.always(() => inverter.dispose());

/** Every text that an inversion shows. */
function textsOf({ prompt, particles, trace }: Inversion): string[] {
  return [prompt, ...particles.map((particle) => particle.prompt), ...trace.map(({ best }) => best)];
}

/** Whether `text` has `word` as a whole word, in any case; the words here are of plain letters. */
function has(text: string, word: string): boolean {
  return text
    .toLowerCase()
    .split(/[^a-z]+/)
    .includes(word);
}

const templates: [string, InvertOptions][] = [
  ['a photo of [6], [10] at dusk', {}],
  ['a photo of [6], [10] at dusk', { order: 'confidence', minLength: 1 }],
  ['[4] bells [8]', { order: 'entropy' }],
  ['two [[b] [3] and [2]', { order: 'margin', blockLength: 5, steps: 6 }],
  ['[12]. The end', { temperature: 1.5, topP: 0.9 }],
  ['(((a [3] of [3]))) x', { guesses: 2, temperature: 0.7 }],
  ['a [4] [4]', { minLength: 1, lambdaClip: 0 }],
];
for (const [template, options] of templates) {
  test(`the prompt contains the fixed text verbatim: ${template} ${JSON.stringify(options)}`, async (t) => {
    const pieces = template.replaceAll('[[', '\0').split(/\[\d+\]/);
    const fixed = pieces.map((piece) => piece.replaceAll('\0', '['));
    for (const seed of Array(8).keys()) {
      const inversion = await inverter.invert(bells, { ...quick, ...options, template, seed });
      for (const text of textsOf(inversion)) {
        t.true(text.startsWith(fixed[0] ?? ''), text);
        let from = 0;
        for (const piece of fixed) {
          const at = text.indexOf(piece, from);
          t.true(at !== -1, `"${piece}" in "${text}"`);
          from = at + piece.length;
        }
      }
      if (fixed.at(-1) !== '') t.true(inversion.prompt.endsWith(fixed.at(-1) ?? ''), inversion.prompt);
    }
  });
}

test('a template’s length is derived; stop tokens come after the last fixed piece only', async (t) => {
  const { dllm, engine } = await loadDemo();
  const { tokens, coupling } = await inverter.invert(bells, { ...quick, template: 'a [3] bell[5]' });
  const fixed = dllm.tokenizer.encode('a').length + dllm.tokenizer.encode(' bell').length;
  t.is(tokens.length, 3 + 5 + fixed);
  t.true(tokens.slice(0, 3 + fixed).every((id) => !dllm.stops.includes(id)));
  t.is(coupling.matrix.length, tokens.length);
  await engine.dispose();
});

test('the fixed text steers nothing by itself: free positions are drawn given it', async (t) => {
  const whole = await inverter.invert(bells, {
    template: 'a flat vector illustration of two [3] on a plain [3] background',
  });
  t.regex(whole.prompt, /^a flat vector illustration of two .+ on a plain .+ background$/);
  t.true(has(whole.prompt, 'bells') || has(whole.prompt, 'bell'), whole.prompt);
});

// Banned words, on a model whose words are drawn in pieces: "abc" is made of one, two or three tokens.
const banned = ['abc', 'AX', 'c'];
const settings: InvertOptions[] = [
  {},
  { order: 'confidence', temperature: 0.8 },
  { order: 'entropy', guesses: 2 },
  { order: 'margin', topK: 6 },
  { template: ' x[4] ab[3]', temperature: 1.3 },
];

/** Tokens of each "abc" that is a word of its own in a row of tokens. */
function sizesOfAbc(tokens: number[]): number[] {
  const texts = tokens.map((id) => fragmentTokens[id - 2] ?? '');
  const starts = [...texts.keys()].filter((i) => i === 0 || texts[i]?.startsWith(' '));
  return starts.flatMap((start, i) => {
    const wordTokens = texts.slice(start, starts[i + 1]).filter((text) => text !== '');
    return wordTokens.join('').trim() === 'abc' ? [wordTokens.length] : [];
  });
}

for (const options of settings) {
  test(`over 200 seeds no text has a banned word, of any number of tokens: ${JSON.stringify(options)}`, async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-fragments-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    await fragments(folder);
    await using model = await Inverter.load({
      dllm: folder,
      clip: path.join(__dirname, '..', 'fixtures', 'models', 'clip'),
    });
    const pixels = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 } as const;
    const items = Array.from({ length: 200 }, (_, seed) => ({ image: pixels, seed }));
    const short = { particles: 4, steps: 4, lambdaClip: 1, lambdaEdit: 1, ...(!options.template && { length: 10 }) };
    const sizes = new Set<number>();
    for await (const result of model.invertAll(items, { ...short, ...options })) {
      if (result instanceof FkinvError) return t.fail(result.message);
      for (const { tokens } of result.particles) for (const size of sizesOfAbc(tokens)) sizes.add(size);
    }
    t.deepEqual([...sizes].sort(), [1, 2, 3], 'without the ban it is drawn in all these ways');
    const found: string[] = [];
    for await (const result of model.invertAll(items, { ...short, ...options, banned })) {
      if (result instanceof FkinvError) return t.fail(result.message);
      found.push(...textsOf(result).filter((text) => banned.some((word) => has(text, word.toLowerCase()))));
    }
    t.deepEqual(found, []);
  });
}

test('on the demo models: a ban holds, and without it the words are there', async (t) => {
  const words = ['two', 'bells', 'bell', 'orange', 'illustration', 'a'];
  const items = Array.from({ length: 20 }, (_, seed) => ({ image: bells, seed }));
  const wordsOf = async (options: InvertOptions): Promise<string[]> => {
    const found = new Set<string>();
    for await (const result of inverter.invertAll(items, { ...quick, length: 14, ...options })) {
      if (result instanceof FkinvError) return t.fail(result.message);
      for (const text of textsOf(result)) for (const word of words) if (has(text, word)) found.add(word);
    }
    return [...found].sort();
  };
  t.true((await wordsOf({})).length > 4);
  t.deepEqual(await wordsOf({ banned: words }), []);
});

test('a word of three tokens that would be drawn is not: its pieces are, in other words', async (t) => {
  const { dllm, engine } = await loadDemo();
  // The template leaves the last piece of the word open, and without a ban it is drawn.
  const ids = dllm.tokenizer.encode(' illustration');
  await engine.dispose();
  const start = dllm.tokenizer.decode(ids.slice(0, -1)).trimStart();
  const template = `a flat vector ${start}[1] of two bells`;
  const seeds = Array.from({ length: 20 }, (_, seed) => seed);
  const free = await Promise.all(seeds.map((seed) => inverter.invert(bells, { ...quick, template, seed })));
  t.true(
    free.some(({ prompt }) => has(prompt, 'illustration')),
    free[0]?.prompt,
  );
  for (const seed of seeds) {
    const inversion = await inverter.invert(bells, { ...quick, template, seed, banned: ['Illustration'] });
    for (const text of textsOf(inversion)) {
      t.false(has(text, 'illustration'), text);
      t.true(text.startsWith(`a flat vector ${start}`), text);
    }
  }
});

test('where nothing is left after a token, that token is drawn again; an image that finds no way leaves the others', async (t) => {
  const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
  await using toy = await Inverter.load({ dllm: path.join(fixtures, 'dllm'), clip: path.join(fixtures, 'clip') });
  const words = ['red', 'green', 'blue', 'cat', 'dog', 'tree', 'with', 'and', 'sky'];
  const image = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 } as const;
  const options = { particles: 3, steps: 2, length: 3, lambdaClip: 1 };
  const bans = words.map((word) => `cat ${word}`);
  const items = Array.from({ length: 20 }, (_, seed) => ({ image, seed }));
  for await (const result of toy.invertAll(items, { ...options, steps: 1, minLength: 3, banned: bans })) {
    if (result instanceof FkinvError) return t.fail(result.message);
    for (const { prompt } of result.particles) t.notRegex(prompt, /cat ./);
  }
  // Every word but one, and that one beside itself: of three words none is left.
  const codes = new Map<number, string>();
  const none = [...words.slice(1), 'red red'];
  const mixed = items.map(({ seed }) => ({ image, seed, ...(seed % 2 === 1 && { banned: none, minLength: 3 }) }));
  let place = 0;
  for await (const result of toy.invertAll(mixed, options)) {
    codes.set(place++, result instanceof FkinvError ? result.code : 'done');
  }
  for (const [i, code] of codes) t.is(code, i % 2 === 1 ? 'NOTHING_LEFT' : 'done');
});

test('images that find no way are left out, and the others are what they are alone', async (t) => {
  const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
  await using toy = await Inverter.load({ dllm: path.join(fixtures, 'dllm'), clip: path.join(fixtures, 'clip') });
  const image = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 } as const;
  // Two positions of three are drawn at the first step: those that leave "red" in the midst find no neighbour for it.
  const words = ['green', 'blue', 'cat', 'dog', 'tree', 'with', 'and', 'sky'];
  const banned = words.flatMap((word) => [`red ${word}`, `${word} red`, `${word} ${word}`]).concat('red red');
  const options = { particles: 2, steps: 3, length: 3, minLength: 3, lambdaClip: 1, banned };
  const codes: string[] = [];
  let seed = 0;
  for await (const result of toy.invertAll(
    Array.from({ length: 40 }, (_, s) => ({ image, seed: s })),
    options,
  )) {
    const alone = await toy.invert(image, { ...options, seed: seed++ }).catch((error: unknown) => error as FkinvError);
    codes.push(result instanceof FkinvError ? result.code : 'done');
    t.is(codes.at(-1), alone instanceof FkinvError ? alone.code : 'done');
    if (!(result instanceof FkinvError) && !(alone instanceof FkinvError)) t.deepEqual(result.trace, alone.trace);
  }
  t.deepEqual(new Set(codes), new Set(['done', 'NOTHING_LEFT']));
});

test('top-k and top-p keep what is left beside a banned word', async (t) => {
  for (const options of [{ topP: 0.5 }, { topK: 1 }, { topK: 3, topP: 0.5, temperature: 0.7 }, { temperature: 0 }]) {
    const inversion = await inverter.invert(bells, { ...quick, ...options, banned: ['orange', 'a', 'bells', 'two'] });
    for (const text of textsOf(inversion)) t.notRegex(text, /\b(orange|a|bells|two)\b/i);
  }
});

test('banned token ids are never drawn', async (t) => {
  const { tokens } = await inverter.invert(bells, quick);
  const ids = [...new Set(tokens)].filter((id) => id !== 0);
  const { particles } = await inverter.invert(bells, { ...quick, banned: ids });
  for (const particle of particles) t.false(particle.tokens.some((id) => ids.includes(id)));
});

test('a ban that changes nothing leaves everything as it is, and one that does is reproducible', async (t) => {
  const plain = await inverter.invert(bells, quick);
  const idle = await inverter.invert(bells, { ...quick, banned: ['xylophonist'] });
  t.deepEqual({ ...idle, timings: null }, { ...plain, timings: null });
  const options = { ...quick, banned: ['bells', 'two', 'a'], seed: 9 };
  const [first, second] = [await inverter.invert(bells, options), await inverter.invert(bells, options)];
  t.deepEqual({ ...second, timings: null }, { ...first, timings: null });
});

const all = Array.from({ length: 2048 }, (_, id) => id);
const refused: [string, InvertOptions, ErrorCode, RegExp][] = [
  ['every token', { banned: all }, 'NOTHING_LEFT', /position 0/],
  [
    'every token but one that is a word',
    { banned: [...all.filter((id) => id !== 258), 'a'] },
    'NOTHING_LEFT',
    /banned word/,
  ],
  ['an empty word', { banned: [''] }, 'INVALID_OPTION', /banned/],
  ['white space', { banned: [' '] }, 'INVALID_OPTION', /banned/],
  ['an id that is none', { banned: [2048] }, 'INVALID_OPTION', /2048/],
  ['a fraction', { banned: [1.5] }, 'INVALID_OPTION', /banned/],
  ['no list', { banned: 'cat' as unknown as string[] }, 'INVALID_OPTION', /banned/],
  ['a word of the fixed text', { template: 'a Bell, [4]', banned: ['bell'] }, 'TEMPLATE_INVALID', /banned word/],
  [
    'a token of the fixed text',
    { template: 'a[4]', banned: all.filter((id) => id > 1) },
    'TEMPLATE_INVALID',
    /token 99, which is banned/,
  ],
  ['length beside template', { template: 'a [4]', length: 5 }, 'INVALID_OPTION', /length/],
  ['a template that does not fit', { template: 'a [32]' }, 'TEMPLATE_INVALID', /33/],
  ['a template of nothing', { template: '' }, 'TEMPLATE_INVALID', /empty/],
  ['a template that is not closed', { template: 'a [4' }, 'TEMPLATE_INVALID', /not closed/],
  [
    'temperature 0 with a deterministic order',
    { temperature: 0, order: 'confidence' },
    'IDENTICAL_PARTICLES',
    /particles/,
  ],
  ['topK 1 with a deterministic order', { topK: 1, order: 'entropy' }, 'IDENTICAL_PARTICLES', /topK 1/],
  ['blocks that do not divide the steps', { length: 10, blockLength: 3, steps: 6 }, 'INVALID_OPTION', /steps/],
  ['blocks longer than the prompt', { length: 10, blockLength: 11 }, 'INVALID_OPTION', /blockLength/],
];
for (const [what, options, code, message] of refused) {
  test(`refused: ${what}`, async (t) => {
    const error = await t.throwsAsync(inverter.invert(bells, { steps: 4, particles: 2, ...options }), {
      instanceOf: FkinvError,
      code,
    });
    t.regex(error.message, message);
    t.is(typeof (await inverter.invert(bells, quick)).prompt, 'string', 'it still listens');
  });
}

test('one particle may be deterministic, and several may where the order is random', async (t) => {
  const one = await inverter.invert(bells, { temperature: 0, order: 'confidence', particles: 1, steps: 8 });
  t.is(one.particles.length, 1);
  t.is((await inverter.invert(bells, { temperature: 0, particles: 3, steps: 8 })).particles.length, 3);
  t.is((await inverter.invert(bells, { topK: 1, particles: 3, steps: 8 })).particles.length, 3);
});
