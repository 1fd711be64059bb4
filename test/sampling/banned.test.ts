import path from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { BanList } from '../../lib/sampling/banned';
import { FkinvError } from '../../lib/errors';
import { ModelFolder } from '../../lib/models/model-folder';
import { Tokenizer } from '../../lib/models/tokenizer';

const stop = 0;
const otherStop = 1;
const mask = 2;
const firstWord = 3;

/** A model whose tokens from `firstWord` on are `vocabulary`; it cannot decode a mask. */
function modelOf(vocabulary: string[]) {
  const text = (id: number): string => vocabulary[id - firstWord] ?? fail(`${id} is no text`);
  const decode = (tokens: number[]): string => {
    const end = tokens.findIndex((id) => id === stop || id === otherStop);
    return (end === -1 ? tokens : tokens.slice(0, end)).map(text).join('');
  };
  return { decode, maskId: mask, stops: [stop, otherStop] };
}

function fail(message: string): never {
  throw new Error(message);
}

const listOf = (...words: string[]): BanList => new BanList(words, modelOf([]));

// matches.

const cases: [word: string, text: string, banned: boolean][] = [
  ['cat', 'cat', true],
  ['cat', 'a cat, on a mat', true],
  ['cat', 'a CaT', true],
  ['CAT', 'cat', true],
  ['cat', 'catch', false],
  ['cat', 'bobcat', false],
  ['cat', 'scatter', false],
  ['cat', 'a bobcat and a cat', true],
  ['cat', 'cat-like', true],
  ['cat', 'cat’s', true],
  ['cat', 'cat_1', false],
  ['cat', '_cat', false],
  ['cat', 'cat2', false],
  ['cat', '2cat', false],
  ['cat', 'cat٣', false],
  ['cat', 'écat', false],
  ['cat', 'cat\u0301', false],
  ['cat', 'cat\uFFFD', true],
  ['cat', '(cat)', true],
  ['cat', '猫cat', false],
  ['cat', '🦑cat🦑', true],
  [' cat\n', 'a cat.', true],
  ['3', '3', true],
  ['3', 'a 3D render', false],
  ['hot dog', 'a hot dog', true],
  ['hot dog', 'HOT \n\t DOG', true],
  ['hot  dog', 'hot\u00A0dog', true],
  ['hot dog', 'hotdog', false],
  ['hot dog', 'hot-dog', false],
  ['hot dog', 'hot dogs', false],
  ['hot dog', 'shot dog', false],
  ['c++', 'c++', true],
  ['c++', 'C++ and', true],
  ['c++', 'c++x', true],
  ['c++', 'xc++', false],
  ['c++', 'c+', false],
  ['.net', 'a.net', true],
  ['.net', '.nets', false],
  ['.net', 'xnet', false],
  ['a|b', 'a', false],
  ['a|b', 'a|b', true],
  ['[x]', '[x]', true],
  ['[x]', 'x', false],
  ['a-b', 'a-b', true],
  ['\\d', '\\d', true],
  ['\\d', '5', false],
  ['_', 'a _ b', true],
  ['_', 'a_b', false],
  ['🦑', 'a🦑b', true],
  ['über', 'ÜBER', true],
  ['caf\u00E9', 'a cafe\u0301', true],
  ['cafe\u0301', 'a CAF\u00C9', true],
  ['cafe', 'cafe\u0301', false],
  ['ΟΔΟΣ', 'οδος', true],
  ['ΟΔΟΣ', 'οδοσ', true],
  ['кот', 'Кот', true],
  ['кот', 'котик', false],
];
for (const [word, text, banned] of cases) {
  const title = `${JSON.stringify(word)} ${banned ? 'bans' : 'allows'} ${JSON.stringify(text)}`;
  test(title.replaceAll(' ', '·').normalize('NFD'), (t) => t.is(listOf(word).matches(text), banned));
}

test('any word of the list bans', (t) => {
  const list = listOf('cat', 'c++', 'hot dog');
  for (const text of ['a cat', 'in c++', 'a hot dog']) t.true(list.matches(text));
  t.false(list.matches('a hot cats c+ dog'));
  for (let i = 0; i < 3; i++) t.true(list.matches('cat'), 'it has no memory of what it was asked before');
});

test('a list without words bans nothing, and does not decode', (t) => {
  const list = new BanList([], { ...modelOf([]), decode: () => fail('decoded') });
  t.false(list.matches(''));
  t.false(list.matches('cat'));
  t.false(list.violates([firstWord]));
  t.is(list.completing([firstWord], [0]), -1);
});

test('an empty word is refused', (t) => {
  for (const word of ['', ' ', '\t\n', '\u00A0']) {
    const error = t.throws(() => listOf('cat', word), { instanceOf: FkinvError, code: 'INVALID_OPTION' });
    t.is(error.message, `options of invert: banned: ${JSON.stringify(word)} is empty: give a word or a token id`);
  }
});

const isWordCharacter = (character: string | undefined): boolean =>
  character !== undefined && /^[\p{L}\p{Nd}\p{M}_]$/u.test(character);
const equalInAnyCase = (a: string | undefined, b: string): boolean =>
  a !== undefined && (a === b || a.toLowerCase() === b.toLowerCase() || a.toUpperCase() === b.toUpperCase());

/** Ends, in `text`, of all the ways to read `word` from `at` on. */
function endsOf(word: string[], text: string[], at: number): number[] {
  const [first, ...rest] = word;
  if (first === undefined) return [at];
  if (first !== ' ') return equalInAnyCase(text[at], first) ? endsOf(rest, text, at + 1) : [];
  const ends: number[] = [];
  for (let end = at; /^\s$/u.test(text[end] ?? ''); end++) ends.push(...endsOf(rest, text, end + 1));
  return ends;
}

/** The rule once more, character by character. */
function bans(words: string[], whole: string): boolean {
  const text = Array.from(whole.normalize('NFC'));
  return words.some((entry) => {
    const word = Array.from(entry.normalize('NFC').trim().replace(/\s+/gu, ' '));
    return text.some(
      (_, start) =>
        !(isWordCharacter(word[0]) && isWordCharacter(text[start - 1])) &&
        endsOf(word, text, start).some((end) => !(isWordCharacter(word.at(-1)) && isWordCharacter(text[end]))),
    );
  });
}

const characters = fc.constantFrom(...Array.from('aAbB1+-_. \t\u00A0éÉe\u0301σςΣ🦑'));
const entries = fc.array(
  fc.string({ unit: characters, minLength: 1, maxLength: 3 }).filter((word) => word.trim() !== ''),
  { maxLength: 3 },
);

// Several texts or rows for each list, here and below: a list takes longer to compile than to ask.
test('matches as the rule does, character by character', (t) => {
  const texts = fc.array(fc.string({ unit: characters, maxLength: 10 }), { minLength: 10, maxLength: 20 });
  const found = { banned: 0, allowed: 0 };
  fc.assert(
    fc.property(entries, texts, (words, texts) => {
      const list = listOf(...words);
      for (const text of texts) {
        const expected = bans(words, text);
        found[expected ? 'banned' : 'allowed']++;
        t.is(list.matches(text), expected, JSON.stringify({ words, text }));
      }
    }),
    { numRuns: 500 },
  );
  t.true(Math.min(found.banned, found.allowed) > 200, JSON.stringify(found));
});

// Rows of tokens.

const vocabulary = ['a', ' cat', 'ch', 'bob', ' c', 'at', ' hot', ' dog', 's', ' ', 'cat', '.'];

/** Ids of texts of the vocabulary; "|" is a stop, "?" a mask. */
const idsOf = (...texts: string[]): number[] =>
  texts.map((text) => {
    if (text === '|') return stop;
    if (text === '||') return otherStop;
    if (text === '?') return mask;
    return vocabulary.includes(text) ? vocabulary.indexOf(text) + firstWord : fail(`no token ${text}`);
  });

const catAndHotDog = new BanList(['cat', 'hot dog'], modelOf(vocabulary));

const rows: [row: string[], violates: boolean][] = [
  [[], false],
  [[' cat'], true],
  [[' c', 'at'], true],
  [[' cat', 'ch'], false],
  [[' cat', '?', 'ch'], true],
  [['bob', 'cat'], false],
  [['bob', '?', 'cat'], true],
  [[' c', '?', 'at'], false],
  [[' hot', ' dog'], true],
  [[' hot', ' ', ' dog'], true],
  [[' hot', '?', ' dog'], false],
  [[' hot', ' dog', 's'], false],
  [['|', ' cat'], false],
  [['||', ' cat'], false],
  [['a', '|', ' cat', '?'], false],
  [['?', '|', ' cat'], false],
  [[' cat', '|', 'ch'], true],
  [[' cat', '||', 'ch'], true],
  [[' c', '|', 'at'], false],
  [['?', '?', '?'], false],
];
for (const [row, violates] of rows) {
  test(`row${JSON.stringify(row)} ${violates ? 'violates' : 'is clean'}`.replaceAll(' ', '·'), (t) => {
    t.is(catAndHotDog.violates(idsOf(...row)), violates);
    t.is(catAndHotDog.violates(Int32Array.from(idsOf(...row))), violates);
  });
}

const completions: [row: string[], drawn: number[], position: number][] = [
  [[' cat'], [0], 0],
  [[' c', 'at'], [0, 1], 1],
  [[' c', 'at'], [1, 0], 1],
  [[' c', 'at'], [0], 0],
  [[' c', 'at'], [1], 1],
  [[' c', 'at', ' dog'], [0, 1, 2], 1],
  [[' hot', ' ', ' dog'], [0, 2], 2],
  [[' hot', ' ', ' dog'], [0, 1], 1],
  [[' hot', ' dog', ' cat'], [0, 1, 2], 1],
  [[' hot', ' dog', ' cat'], [2, 1, 0], 1],
  // Clean rows, whatever the words look like while they are put back.
  [[' cat', 'ch'], [0, 1], -1],
  [[' hot', ' dog', 's'], [0, 1, 2], -1],
  [['a', '|', ' cat'], [0, 1, 2], -1],
  [['|', ' c', 'at'], [0, 1, 2], -1],
  // " cat" alone would violate, but it is "catch": the other word is it.
  [[' cat', 'ch', ' hot', ' dog'], [0, 1, 2, 3], 3],
  [[' cat', 'ch', ' cat'], [0, 1, 2], 2],
  [[' cat', 'ch', ' cat', ' dog'], [0, 1, 2, 3], 2],
  // Stops: what follows does not count, and it ends a word.
  [[' c', 'at', '|', ' cat'], [0, 1, 2, 3], 1],
  [['bob', ' cat', '|', 'ch'], [1, 2], 1],
  // A row that violates with all of them masked is no draw's doing.
  [[' cat', ' dog'], [1], -1],
  [[' cat', ' dog'], [], -1],
  [[' cat', '|', 'ch'], [1], -1],
];
for (const [row, drawn, position] of completions) {
  test(`completing${JSON.stringify(row)}: ${JSON.stringify(drawn)} gives ${position}`.replaceAll(' ', '·'), (t) => {
    const tokens = Int32Array.from(idsOf(...row));
    t.is(catAndHotDog.completing(tokens, drawn), position);
    t.deepEqual(Array.from(tokens), idsOf(...row), 'the row is as it was');
  });
}

// A small vocabulary, words of one, two and three of its tokens, and rows of which some positions are drawn.
const fragments = fc.constantFrom('a', 'b', 'c', 'ab', 'é', '\u0301', '+', ' ', '.', ' a', ' b', ' ab', ' c', ' ba');
const cell = fc.record({
  id: fc.nat(),
  drawn: fc.boolean(),
  special: fc.constantFrom(-1, -1, -1, -1, -1, -1, stop, otherStop, mask),
});
const worlds = fc
  .record({
    vocabulary: fc.uniqueArray(fragments, { minLength: 2, maxLength: 7 }),
    words: fc.array(fc.array(fc.nat(), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 }),
    cells: fc.array(fc.array(cell, { minLength: 1, maxLength: 8 }), { minLength: 10, maxLength: 20 }),
  })
  .map(({ vocabulary, words, cells }) => {
    const pick = (n: number): number => firstWord + (n % vocabulary.length);
    const model = modelOf(vocabulary);
    const texts = words.map((word) => model.decode(word.map(pick))).filter((word) => word.trim() !== '');
    const rows = cells.map((row) => ({
      tokens: row.map(({ id, special }) => (special === -1 ? pick(id) : special)),
      drawn: row.flatMap(({ drawn, special }, position) => (drawn && special !== mask ? [position] : [])),
    }));
    return { vocabulary, words: texts, list: new BanList(texts, model), rows };
  });
const numRuns = 300;

/** `tokens` with the draws at `from` and after masked. */
function maskedFrom(tokens: number[], drawn: number[], from: number): number[] {
  return tokens.map((id, position) => (position >= from && drawn.includes(position) ? mask : id));
}

test('a row violates where a run of its text does', (t) => {
  fc.assert(
    fc.property(worlds, ({ vocabulary, words, list, rows }) => {
      for (const { tokens } of rows) {
        const end = tokens.findIndex((id) => id === stop || id === otherStop);
        const before = end === -1 ? tokens : tokens.slice(0, end);
        const text = before.map((id) => (id === mask ? '|' : (vocabulary[id - firstWord] ?? ''))).join('');
        const expected = text.split('|').some((run) => bans(words, run));
        t.is(list.violates(tokens), expected, JSON.stringify({ words, text }));
      }
    }),
    { numRuns },
  );
});

test('where a row with its draws masked is clean: if it violates, one of them completes a word', (t) => {
  let violating = 0;
  fc.assert(
    fc.property(worlds, ({ list, rows }) => {
      for (const { tokens, drawn } of rows) {
        if (list.violates(maskedFrom(tokens, drawn, 0))) continue;
        const completing = list.completing(tokens, drawn);
        t.is(completing !== -1, list.violates(tokens));
        if (completing === -1) continue;
        violating++;
        t.true(drawn.includes(completing));
        t.false(list.violates(maskedFrom(tokens, drawn, completing)), 'clean before it is put back');
        for (const position of drawn.filter((one) => one >= completing)) {
          t.true(list.violates(maskedFrom(tokens, drawn, position + 1)), 'and never again from then on');
        }
      }
    }),
    { numRuns },
  );
  t.true(violating > 100, `${violating} rows violated`);
});

test('drawing again what completes a word ends: the row is clean, or a position has no token left', (t) => {
  let redrawn = 0;
  let stuck = 0;
  fc.assert(
    fc.property(worlds, fc.boolean(), fc.infiniteStream(fc.nat()), ({ vocabulary, list, rows }, mayStop, choices) => {
      const ids = [...(mayStop ? [stop] : []), ...vocabulary.map((_, i) => i + firstWord)];
      for (const { tokens, drawn } of rows.filter((row) => !list.violates(maskedFrom(row.tokens, row.drawn, 0)))) {
        const left = new Map(drawn.map((position) => [position, new Set(ids)]));
        const row = [...tokens];
        while (list.violates(row)) {
          const position = list.completing(row, drawn);
          const others = left.get(position) ?? fail(`position ${position} was not drawn`);
          t.true(others.delete(row[position] ?? NaN), 'a token is drawn once at a position, and is never the stop');
          if (others.size === 0) {
            stuck++;
            break;
          }
          row[position] = [...others][(choices.next().value as number) % others.size] ?? NaN;
          redrawn++;
        }
      }
    }),
    { numRuns },
  );
  t.true(redrawn > 100 && stuck > 0, `${redrawn} draws, ${stuck} rows without a token left`);
});

test('the demo’s tokens: a word is found however it is split', async (t) => {
  const tokenizer = await Tokenizer.load(new ModelFolder(path.join(__dirname, '..', '..', 'models', 'dllm')));
  const list = new BanList(['squid', 'über'], { decode: (ids) => tokenizer.decode(ids), maskId: 1, stops: [0] });
  const split = (text: string, at: number[]): number[] =>
    [0, ...at].flatMap((from, i) => tokenizer.encode(text.slice(from, at[i] ?? text.length)));
  const text = 'three Squid on green';
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: text.length - 1 })), (at) => {
      at.sort((a, b) => a - b);
      const row = split(text, at);
      t.is(tokenizer.decode(row), text);
      t.true(list.violates(row));
    }),
  );
  t.false(list.violates(tokenizer.encode('three squids')));
  const bytes = tokenizer.encode('ü');
  t.is(bytes.length, 2, 'a letter of two tokens');
  const row = [...bytes, ...tokenizer.encode('ber')];
  t.true(list.violates(row));
  t.is(list.completing(row, [1]), 1);
});
