// Models that load and cannot be used: graphs that fail when they run, and numbers that say nothing.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { FkinvError } from 'fkinv-native';
import {
  type Json,
  bySlot,
  eos,
  fails,
  firstWord,
  fixtures,
  folder,
  image,
  open,
  refusesToInvert,
  refusesToLoad,
  setUp,
  short,
  tokenizerWith,
  unconditional,
  vocab,
  weights,
} from '../helpers/altered-models';

setUp();

// Graphs that load and fail when they run.

test('a dLLM that fails at its second forward', async (t) => {
  const inverter = await open(t, unconditional('breaks'));
  const steps: number[] = [];
  const onStep = ({ step }: { step: number }) => void steps.push(step);
  await refusesToInvert(t, inverter, 'MODEL_RUN', ['model.onnx', 'indices element out of data bounds'], {
    steps: 1,
    onStep,
  });
  t.deepEqual(steps, [0, 0]);
});

test('a text tower that fails', async (t) => {
  const inverter = await open(t, {}, { graphs: { 'text_model.onnx': 'text_breaks' } });
  await refusesToInvert(t, inverter, 'MODEL_RUN', ['text_model.onnx', 'indices element out of data bounds']);
});

test('logits of more columns than the config says', async (t) => {
  const inverter = await open(t, unconditional('more_columns'));
  await refusesToInvert(t, inverter, 'MODEL_RUN', ['model.onnx', '12', '16']);
});

test('a graph made for 6 positions takes 6', async (t) => {
  const inverter = await open(t, unconditional('length_of_6'));
  for (const length of [5, 7]) await refusesToInvert(t, inverter, 'INVALID_OPTION', ['length', '6'], { length });
  const { particles } = await (await open(t, unconditional())).invert(image(), short);
  t.deepEqual((await inverter.invert(image(), short)).particles, particles);
  t.deepEqual((await inverter.invert(image(), { particles: 4, steps: 3 })).particles, particles);
});

for (const type of ['float16', 'bfloat16']) {
  test(`${type} logits that are exact in it give what float32 logits give`, async (t) => {
    const inverter = await open(t, unconditional(`${type}_logits`));
    const plain = await open(t, unconditional());
    for (const temperature of [0, 0.5, 1]) {
      const options = { particles: 8, steps: 4, length: 8, temperature };
      const { particles, trace, coupling } = await inverter.invert(image(), options);
      const wanted = await plain.invert(image(), options);
      t.deepEqual(
        { particles, trace, coupling },
        {
          particles: wanted.particles,
          trace: wanted.trace,
          coupling: wanted.coupling,
        },
      );
    }
  });
}

test('images prepared at another size than the vision tower takes', async (t) => {
  const json = { 'preprocessor_config.json': { size: { height: 9, width: 8 } } };
  const options = { dllm: await folder('dllm'), clip: await folder('clip', { json }) };
  await refusesToLoad(t, options, 'MODEL_INTERFACE', 'vision_model.onnx', '[images, 3, 9, 8]', '[?, 3, 8, 8]');
});

// Logits that cannot be used.

for (const [graph, code] of [
  ['nan', 'INVALID_LOGITS'],
  ['infinite', 'INVALID_LOGITS'],
  ['nothing', 'NOTHING_LEFT'],
] as const) {
  test(`logits: ${graph} at position 3`, async (t) => {
    const inverter = await open(t, unconditional(graph));
    for (const temperature of [0, 0.5, 1]) {
      await refusesToInvert(t, inverter, code, ['particle 0', 'position 3'], { temperature });
    }
    await refusesToInvert(t, inverter, code, ['particle 0', 'position 3'], { couplingOver: 'all', lambdaEdit: 0 });
    t.is((await inverter.invert(image(), { ...short, length: 3 })).tokens.length, 3); // there is no position 3
  });
}

test('nothing is left where all that the tokenizer has is special', async (t) => {
  const config = { 'config.json': { condition: undefined } };
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const added_tokens = ['<eos>', '<mask>', '<unk>', ...weights.words].map((content, id) => ({
    ...special,
    id,
    content,
  }));
  const json = { ...config, 'tokenizer.json': { added_tokens } };
  const inverter = await open(t, { graphs: { 'model.onnx': 'dllm_plain' }, json });
  await refusesToInvert(t, inverter, 'NOTHING_LEFT', ['particle 0', 'position 0']);
});

test('NaN logits of a later step are put down to the particle and position that had them', async (t) => {
  const inverter = await open(t, unconditional('nan_after_blue'));
  const plain = await open(t, unconditional());
  const blue = firstWord + weights.words.indexOf('blue');
  const found = new Set<string>();
  for (let seed = 0; seed < 30; seed++) {
    const options = { particles: 3, steps: 1, length: 4, seed };
    // Of one step, every token was drawn from the first forward's logits, which the two graphs share.
    const rows = bySlot((await plain.invert(image(), options)).particles).map(({ tokens }) => tokens);
    const particle = rows.findIndex((row) => row.includes(blue));
    if (particle === -1) {
      found.add('none');
      t.deepEqual(
        bySlot((await inverter.invert(image(), options)).particles).map(({ tokens }) => tokens),
        rows,
      );
      continue;
    }
    const position = rows[particle]?.indexOf(blue) ?? -1;
    found.add(`particle ${particle}`).add(`position ${position}`);
    const where = `particle ${particle} at position ${position}:`;
    await fails(t, inverter.invert(image(), options), 'INVALID_LOGITS', where);
  }
  t.deepEqual(
    ['none', 'particle 0', 'particle 1', 'particle 2', 'position 0', 'position 1', 'position 2', 'position 3'],
    [...found].sort(),
  );
});

// Embeddings that have no direction.

for (const [what, dllm] of [
  ['conditioned on it', {}],
  ['that does not take it', unconditional()],
] as const) {
  for (const graph of ['vision_zero', 'vision_nan', 'vision_infinite']) {
    test(`${graph}, and a dLLM ${what}`, async (t) => {
      const inverter = await open(t, dllm, { graphs: { 'vision_model.onnx': graph } });
      await refusesToInvert(t, inverter, 'INVALID_EMBEDDING', ['CLIP', 'image']);
    });
  }
}

for (const graph of ['text_zero', 'text_nan']) {
  test(graph, async (t) => {
    const inverter = await open(t, {}, { graphs: { 'text_model.onnx': graph } });
    await refusesToInvert(t, inverter, 'INVALID_EMBEDDING', ['CLIP', 'text']);
    await refusesToInvert(t, inverter, 'INVALID_EMBEDDING', ['CLIP', 'text'], { lambdaClip: 0 });
  });
}

// Columns that no prompt may hold.

for (const temperature of [0, 0.06, 1, 10]) {
  test(`surplus columns and special tokens are never drawn, however likely: temperature ${temperature}`, async (t) => {
    const wide = await open(t, unconditional('wide', { vocab_size: 20 }));
    const plain = await open(t, unconditional());
    for (let seed = 0; seed < 5; seed++) {
      const options = { particles: 20, steps: 4, length: 8, temperature, seed };
      const { particles, trace, coupling } = await wide.invert(image(), options);
      for (const { tokens } of particles) t.true(tokens.every((id) => id === eos || (id >= firstWord && id < vocab)));
      // The two graphs differ in nothing else.
      const wanted = await plain.invert(image(), options);
      t.deepEqual(
        { particles, trace, coupling },
        {
          particles: wanted.particles,
          trace: wanted.trace,
          coupling: wanted.coupling,
        },
      );
    }
  });
}

test('ids inside the vocabulary that the tokenizer has no token for are never drawn', async (t) => {
  const json = tokenizerWith((words) => {
    delete words['cat'];
    delete words['sky']; // the last one: it makes the tokenizer shorter
  });
  const holes = ['cat', 'sky'].map((word) => firstWord + weights.words.indexOf(word));
  const change = unconditional();
  const inverter = await open(t, { ...change, json: { ...change.json, ...json } });
  const { particles } = await inverter.invert(image(), { particles: 50, steps: 3, length: 8, minLength: 8 });
  const drawn = new Set(particles.flatMap(({ tokens }) => tokens));
  for (const id of holes) t.false(drawn.has(id), `id ${id} was drawn`);
  for (const { prompt } of particles) t.is(prompt.split(' ').length, 8);
});

test('any of several stop ids ends the prompt', async (t) => {
  const dog = firstWord + weights.words.indexOf('dog');
  const inverter = await open(t, unconditional('plain', { eos_token_id: [eos, dog] }));
  const { particles } = await inverter.invert(image(), { particles: 40, steps: 2, length: 8, minLength: 3 });
  t.true(particles.some(({ tokens }) => tokens.includes(dog)));
  for (const { tokens, prompt } of particles) {
    const end = tokens.findIndex((id) => id === eos || id === dog);
    t.true(end === -1 || end >= 3);
    t.false(prompt.includes('dog'));
    t.is(prompt.split(' ').length, end === -1 ? 8 : end);
  }
});

test('a CLIP tokenizer without a token for the text, and none for unknown words', async (t) => {
  const file = path.join(fixtures, 'clip', 'tokenizer.json');
  const whole = JSON.parse(await readFile(file, 'utf8')) as {
    added_tokens: { content: string }[];
    model: { vocab: Record<string, number>; unk_token?: string };
  };
  const { '<pad>': pad = 0, '<bos>': bos = 1, '<eos>': end = 2, red = 4 } = whole.model.vocab;
  whole.model.vocab = { '<pad>': pad, '<bos>': bos, '<eos>': end, red };
  delete whole.model.unk_token;
  whole.added_tokens = whole.added_tokens.filter(({ content }) => content !== '<unk>');
  const clip = { json: { 'tokenizer.json': whole as unknown as Json } };
  const inverter = await open(t, {}, clip);
  const error = await t.throwsAsync(inverter.invert(image(), short), { instanceOf: FkinvError });
  t.true(['MODEL_INVALID', 'TOKENIZER_MISMATCH'].includes(error.code), error.code);
  t.true(error.message.includes('tokenizer'), error.message);
});
