import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { FkinvError } from '../../lib/errors';
import { ModelFolder } from '../../lib/models/model-folder';
import { parseTemplate } from '../../lib/sampling/template';
import { Tokenizer } from '../../lib/models/tokenizer';

const models = path.join(__dirname, '..', '..', 'models');
const load = (...folder: string[]): Promise<Tokenizer> => Tokenizer.load(new ModelFolder(path.join(...folder)));
let demo: Tokenizer;
let words: Tokenizer; // WordPiece, whole words only
test.before(async () => {
  demo = await load(models, 'dllm');
  words = await load(__dirname, '..', 'fixtures', 'models', 'dllm');
});

/** The demo's tokenizer with `fields` of its two files replaced. */
async function altered(t: ExecutionContext, file: string, fields: Record<string, unknown>): Promise<Tokenizer> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-template-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    cpSync(path.join(models, 'dllm', name), path.join(folder, name));
  }
  const whole = JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as Record<string, unknown>;
  writeFileSync(path.join(folder, file), JSON.stringify({ ...whole, ...fields }));
  return load(folder);
}

function refuses(t: ExecutionContext, template: string, tokenizer: Tokenizer, maxLength: number, ...named: string[]) {
  const error = t.throws(() => parseTemplate(template, tokenizer, maxLength), { instanceOf: FkinvError });
  t.is(error.code, 'TEMPLATE_INVALID');
  t.true(error.message.startsWith('template: '), error.message);
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
}

/** A fixed text, a free span of so many positions, or one whose first token must begin with a space. */
type Piece = string | number | { spaced: number };

function read(pieces: Piece[]): { row: number[]; afterSpace: number[] } {
  const row: number[] = [];
  const afterSpace: number[] = [];
  for (const piece of pieces) {
    if (typeof piece === 'object') afterSpace.push(row.length);
    if (typeof piece === 'string') row.push(...demo.encode(piece));
    else row.push(...Array<number>(typeof piece === 'object' ? piece.spaced : piece).fill(-1));
  }
  return { row, afterSpace };
}

const examples: [template: string, pieces: Piece[], fixed: string[]][] = [
  [
    'a photo of [6], [10] at dusk',
    ['a photo of', { spaced: 6 }, ',', { spaced: 10 }, ' at dusk'],
    ['a photo of ', ', ', ' at dusk'],
  ],
  ['[3]', [3], []],
  ['[2][3]', [5], []],
  [' [3]', [{ spaced: 3 }], [' ']],
  ['[1] [3]', [1, { spaced: 3 }], [' ']],
  ['[1]  [3]', [1, ' ', { spaced: 3 }], ['  ']],
  ['[1] a [1] [2]', [1, ' a', { spaced: 1 }, { spaced: 2 }], [' a ', ' ']],
  ['a[2]', ['a', 2], ['a']],
  ['a [2][1]', ['a', { spaced: 2 }, 1], ['a ']],
  ['[2] a ', [2, ' a '], [' a ']],
  ['a\n[2]', ['a\n', 2], ['a\n']],
  ['[[[2]', ['[', 2], ['[']],
  ['[[3] [2]', ['[3]', { spaced: 2 }], ['[3] ']],
  ['a [[[[b]] ] [2] [[', ['a [[b]] ]', { spaced: 2 }, ' ['], ['a [[b]] ] ', ' [']],
  ['[2]]', [2, ']'], [']']],
  ['🦑 über [2]', ['🦑 über', { spaced: 2 }], ['🦑 über ']],
];
for (const [source, pieces, fixed] of examples) {
  test(`read: ${JSON.stringify(source).replaceAll(' ', '·')}`, (t) => {
    const { row, afterSpace } = read(pieces);
    const pinned = Int32Array.from(row);
    t.deepEqual(parseTemplate(source, demo, 40), { length: row.length, pinned, afterSpace, fixed });
  });
}

const literal = (text: string): string => text.replaceAll('[', '[[');
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.string({ unit: fc.constantFrom(' ', '[', ']', 'a', '1', ',', '<', '\n', 'é', '🦑'), maxLength: 8 }),
  fc
    .array(fc.constantFrom('a', 'photo', 'of', 'navy', 'Zebra', 'dusk', "it's", ','), { maxLength: 4 })
    .map((list) => list.join(' ')),
);
/** Fixed text and the spans after it. */
const segments = fc.array(
  fc.record({
    text: fc.tuple(text, fc.constantFrom('', ' ', '  ')).map(([body, end]) => body + end),
    spans: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 2 }),
  }),
  { minLength: 1, maxLength: 4 },
);
const written = fc.tuple(segments, text).map(([list, tail]) => ({
  list,
  tail,
  source: list.map((one) => literal(one.text) + one.spans.map((n) => `[${n}]`).join('')).join('') + literal(tail),
}));
const picks = fc.array(fc.nat(), { minLength: 40, maxLength: 40 });

/** The template's row with its free positions filled: from `spaced` where it must be, from `any` elsewhere. */
function fill(template: ReturnType<typeof parseTemplate>, picks: number[], spaced: readonly number[], any: number[]) {
  return Array.from(template.pinned, (id, position) => {
    if (id !== -1) return id;
    const from = template.afterSpace.includes(position) ? spaced : any;
    return from[(picks[position % picks.length] ?? 0) % from.length] ?? NaN;
  });
}

test('whatever fills the spans, the text holds the fixed texts in order', (t) => {
  const ordinary = Array.from({ length: demo.size }, (_, id) => id).filter((id) => !demo.specialIds.includes(id));
  fc.assert(
    fc.property(written, picks, ({ list, tail, source }, choice) => {
      const template = parseTemplate(source, demo, 1000);
      t.deepEqual(
        template.fixed,
        [...list.map((one) => one.text), tail].filter((one) => one !== ''),
      );
      const result = demo.decode(fill(template, choice, demo.spacedIds, ordinary));
      let from = 0;
      for (const fixed of template.fixed) {
        const at = result.indexOf(fixed, from);
        t.not(at, -1, `${JSON.stringify(fixed)} in ${JSON.stringify(result)}`);
        from = at + fixed.length;
      }
    }),
    { numRuns: 2000 },
  );
});

test('with whole characters in the spans, the text is the template with their texts in place of them', (t) => {
  const whole = Array.from({ length: demo.size }, (_, id) => id).filter((id) =>
    /^[^\uFFFD]+$/u.test(demo.decode([id])),
  );
  const spaced = demo.spacedIds.filter((id) => whole.includes(id));
  fc.assert(
    fc.property(written, picks, ({ list, tail, source }, choice) => {
      const template = parseTemplate(source, demo, 1000);
      const row = fill(template, choice, spaced, whole);
      const free = row.flatMap((id, position) => (template.pinned[position] === -1 ? [{ id, position }] : []));
      t.is(
        free.length,
        list.flatMap(({ spans }) => spans).reduce((sum, n) => sum + n),
      );
      const expected = list.map(({ text, spans }) => {
        const tokens = free.splice(
          0,
          spans.reduce((sum, n) => sum + n),
        );
        t.is(template.afterSpace.includes(tokens[0]?.position ?? -1), text.endsWith(' '));
        const span = tokens.map(({ id }) => demo.decode([id])).join('');
        return text.endsWith(' ') ? text + span.slice(1) : text + span;
      });
      t.is(demo.decode(row), expected.join('') + tail);
    }),
    { numRuns: 2000 },
  );
});

const howTo = 'write [n] for n free positions, [[ for a literal [';
const bad: [template: string, ...named: string[]][] = [
  ['', 'it is empty', howTo],
  ['a photo', 'nothing in it is free', howTo],
  ['a [[3] photo', 'nothing in it is free', howTo],
  [']', 'nothing in it is free', howTo],
  ['a [x] b', '[x] at character 3 is not a whole number from 1 to 32', howTo],
  ['[]', '[] at character 1 is not a whole number', howTo],
  ['é🦑 [0]', '[0] at character 4 is not a whole number from 1 to 32', howTo],
  ['[-1]', '[-1] at character 1 is not a whole number'],
  ['[2.5]', '[2.5] at character 1 is not a whole number'],
  ['[1e1]', '[1e1] at character 1 is not a whole number'],
  ['[ 2 ]', '[ 2 ] at character 1 is not a whole number'],
  ['[02]', '[02] at character 1 is not a whole number'],
  ['[٣]', '[٣] at character 1 is not a whole number'],
  ['[2[3]', '[2[3] at character 1 is not a whole number'],
  ['[33]', '[33] at character 1 is not a whole number from 1 to 32'],
  ['[99999999999999999999999]', '[99999999999999999999999] at character 1 is not a whole number from 1 to 32'],
  ['a [2', 'the [ at character 3 is not closed', howTo],
  ['[2] b [', 'the [ at character 7 is not closed', howTo],
  ['[[ [[[2] [x', 'the [ at character 10 is not closed'],
  ['[20] a[12]', 'it is 33 tokens long, 1 of them fixed, and the model takes 32', 'shorten it'],
  ['[32][32][32]', 'it is 96 tokens long, 0 of them fixed, and the model takes 32'],
  ['[2] a <eos>', '" a <eos>" at character 4 takes the special token <eos>, which is no text'],
  ['a<mask> [2]', '"a<mask>" at character 1 takes the special token <mask>, which is no text'],
  ['[2]\ud800', '"\\ud800" at character 4 comes out of the dLLM\'s tokenizer as "\uFFFD"'],
];
for (const [template, ...named] of bad) {
  test(`refused: ${JSON.stringify(template)}`, (t) => refuses(t, template, demo, 32, ...named));
}

test('a template as long as the model takes', (t) => {
  t.is(parseTemplate('[32]', demo, 32).length, 32);
  t.is(parseTemplate('[20] a[11]', demo, 32).length, 32);
});

test('more fixed text than an argument list can hold is too long, no fault', (t) => {
  refuses(t, `[1]${'xq'.repeat(300_000)}`, demo, 32, 'it is 600001 tokens long, 600000 of them fixed');
});

test('a tokenizer of whole words: what it can write and what it cannot', (t) => {
  t.deepEqual(Array.from(parseTemplate('red cat[2]and sky', words, 8).pinned), [3, 6, -1, -1, 10, 11]);
  refuses(t, 'purple cat[2]', words, 8, '"purple cat" at character 1 takes the special token <unk>');
  refuses(t, '[2] cat', words, 8, '" cat" at character 4 comes out of the dLLM\'s tokenizer as "cat"');
  refuses(t, 'red  cat[2]', words, 8, 'comes out of the dLLM\'s tokenizer as "red cat": write it so');
  refuses(t, '[2] ', words, 8, '" " at character 4', 'as ""');
  refuses(t, 'red [2]', words, 8, '"red " at character 1 ends in a space, and no token', 'leave the space out');
  refuses(t, ' [2]', words, 8, '" " at character 1 ends in a space');
});

test('a tokenizer that lower-cases and brackets texts with special tokens', async (t) => {
  const clip = await load(models, 'clip');
  const ids = clip.encode('a red cat').slice(1, -1);
  t.deepEqual(clip.encode('a red cat', { specials: false }), ids);
  t.deepEqual(Array.from(parseTemplate('a red cat[1]', clip, 8).pinned), [...ids, -1]);
  refuses(t, 'A red cat[1]', clip, 8, '"A red cat"', 'as "a red cat": write it so');
});

test('a tokenizer that normalizes', async (t) => {
  const tokenizer = await altered(t, 'tokenizer.json', { normalizer: { type: 'NFC' } });
  t.is(parseTemplate('caf\u00E9 [1]', tokenizer, 8).fixed[0], 'caf\u00E9 ');
  refuses(t, 'cafe\u0301 [1]', tokenizer, 8, 'at character 1 comes out', 'in another Unicode normal form: write it so');
});

test('a tokenizer without a token for the unknown', async (t) => {
  const model = { type: 'WordLevel', vocab: { '<eos>': 0, '<mask>': 1, red: 2 } };
  const tokenizer = await altered(t, 'tokenizer.json', { model, pre_tokenizer: { type: 'WhitespaceSplit' } });
  const error = t.throws(() => parseTemplate('red cat[1]', tokenizer, 8), { code: 'TEMPLATE_INVALID' });
  t.regex(error.message, /^template: "red cat" at character 1 cannot be written in the dLLM's tokens: .*"red cat"/u);
  t.is((error.cause as FkinvError).code, 'MODEL_INVALID');
});

test('a tokenizer that moves spaces: a fixed text is looked at beside its neighbours too', async (t) => {
  const tokenizer = await altered(t, 'tokenizer_config.json', { clean_up_tokenization_spaces: true });
  t.is(parseTemplate('[1], a [1]', tokenizer, 8).length, 4);
  refuses(t, '[1] a .', tokenizer, 8, '" a ." at character 4', 'as " a."');
  refuses(t, "[1] ' [1]", tokenizer, 8, '" \' " is not in what the dLLM\'s tokenizer makes of the whole, "');
});

test('a tokenizer that drops repeats: every fixed text is looked for behind the one before', async (t) => {
  const decoder = { type: 'CTC', pad_token: '<eos>', word_delimiter_token: '|', cleanup: false };
  const tokenizer = await altered(t, 'tokenizer.json', { decoder });
  t.is(parseTemplate('x[1]y[1]x', tokenizer, 8).length, 5);
  refuses(t, 'x[1]x', tokenizer, 8, '"x" is not in what the dLLM\'s tokenizer makes of the whole, "x"');
});
