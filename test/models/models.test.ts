import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import {
  FkinvError,
  Inverter,
  type ErrorCode,
  type InvertOptions,
  type LoadOptions,
  type Particle,
  type RawImage,
} from 'fkinv-native';

// What is in test/fixtures/models is told in test/fixtures/make_models.py.

type Json = Record<string, unknown>;
/** What to alter in a copy of a model folder. */
interface Change {
  /** Graphs of models/graphs in place of the folder's, by the folder's file name. */
  graphs?: Record<string, string>;
  /** Fields of JSON files to set; undefined removes one. */
  json?: Record<string, Json>;
  /** Contents of files; null removes one. */
  files?: Record<string, string | Uint8Array | null>;
}

interface Weights {
  words: string[];
  token: number[][];
  condition: number[][];
  text: number[][];
  image: number[][];
  bias: number[];
}

const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
const weights = JSON.parse(readFileSync(path.join(fixtures, 'weights.json'), 'utf8')) as Weights;
const eos = 0;
const mask = 1;
const unk = 2;
const firstWord = 3; // in the dLLM's tokenizer; CLIP's has <pad>, <bos>, <eos>, <unk> before the words
const vocab = firstWord + weights.words.length;
const short = { particles: 4, steps: 3, length: 6 };

let root: string;
let count = 0;
test.before(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'fkinv models ü-'));
});
test.after.always(() => rm(root, { recursive: true }));

function image(red = 200, green = 120, blue = 40): RawImage {
  const data = Uint8Array.from({ length: 10 * 5 * 3 }, (_, i) => [red, green, blue][i % 3] ?? 0);
  return { data, width: 10, height: 5, channels: 3 };
}

async function folder(kind: 'dllm' | 'clip', { graphs = {}, json = {}, files = {} }: Change = {}): Promise<string> {
  const at = path.join(root, `${kind} ${++count}`);
  await cp(path.join(fixtures, kind), at, { recursive: true });
  for (const [name, graph] of Object.entries(graphs)) {
    await cp(path.join(fixtures, 'graphs', `${graph}.onnx`), path.join(at, name));
  }
  for (const [name, fields] of Object.entries(json)) {
    const file = path.join(at, name);
    const whole = JSON.parse(await readFile(file, 'utf8')) as Json;
    await writeFile(file, JSON.stringify({ ...whole, ...fields }));
  }
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(at, name);
    if (content === null) await rm(file);
    else await writeFile(file, content);
  }
  return at;
}

/** A dLLM that takes no image condition: the graph dllm_`name`, or plain. */
function unconditional(name = 'plain', config: Json = {}): Change {
  return {
    graphs: { 'model.onnx': `dllm_${name}` },
    json: { 'config.json': { condition: undefined, ...config } },
  };
}

async function open(t: ExecutionContext, dllm: Change = {}, clip: Change = {}): Promise<Inverter> {
  const inverter = await Inverter.load({ dllm: await folder('dllm', dllm), clip: await folder('clip', clip) });
  t.teardown(() => inverter.dispose());
  return inverter;
}

async function fails(t: ExecutionContext, call: Promise<unknown>, code: ErrorCode, ...named: string[]) {
  const error = await t.throwsAsync(call, { instanceOf: FkinvError, code });
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
  return error;
}

async function works(t: ExecutionContext): Promise<void> {
  const inverter = await open(t);
  t.is((await inverter.invert(image(), short)).tokens.length, 6);
}

async function refusesToLoad(t: ExecutionContext, options: LoadOptions, code: ErrorCode, ...named: string[]) {
  await fails(t, Inverter.load(options), code, ...named);
  await works(t);
}

/** The Inverter loads, but `options` fail with `code` each time. */
async function refusesToInvert(
  t: ExecutionContext,
  inverter: Inverter,
  code: ErrorCode,
  named: string[],
  options: InvertOptions = {},
): Promise<void> {
  await fails(t, inverter.invert(image(), { ...short, ...options }), code, ...named);
  await fails(t, inverter.invert(image(), { ...short, ...options }), code, ...named);
  await fails(t, inverter.invert('/no/such/image', short), 'IMAGE_NOT_FOUND'); // it still listens
}

const filesOf = {
  dllm: ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.onnx'],
  clip: [
    'config.json',
    'preprocessor_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'vision_model.onnx',
    'text_model.onnx',
  ],
};
const kinds = ['dllm', 'clip'] as const;

// Files that are missing or broken.

for (const kind of kinds) {
  test(`${kind}: a folder that does not exist`, async (t) => {
    const missing = path.join(root, 'missing', kind);
    const error = await fails(t, Inverter.load({ [kind]: missing }), 'MODEL_NOT_FOUND', `the model folder ${missing} (`);
    t.false(error.message.includes('config.json'), error.message);
    await works(t);
  });

  test(`${kind}: a file where the folder should be`, async (t) => {
    const file = path.join(await folder(kind), 'config.json');
    await refusesToLoad(t, { [kind]: file }, 'MODEL_NOT_FOUND', `${file} is no folder`);
  });

  test(`${kind}: files with a byte order mark`, async (t) => {
    const at = await folder(kind);
    await writeFile(path.join(at, 'fkinv.json'), '{}');
    for (const name of [...filesOf[kind], 'fkinv.json'].filter((file) => file.endsWith('.json'))) {
      await writeFile(path.join(at, name), `\ufeff${await readFile(path.join(at, name), 'utf8')}`);
    }
    const inverter = await Inverter.load({ dllm: await folder('dllm'), clip: await folder('clip'), [kind]: at });
    t.is((await inverter.invert(image(), short)).tokens.length, 6);
    await inverter.dispose();
  });

  test(`${kind}: Git LFS pointers in place of files`, async (t) => {
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 123\n`;
    for (const name of filesOf[kind]) {
      const at = await folder(kind);
      await writeFile(path.join(at, name), pointer);
      const folders = { dllm: await folder('dllm'), clip: await folder('clip'), [kind]: at };
      await fails(t, Inverter.load(folders), 'MODEL_INVALID', `${path.join(at, name)} is a Git LFS pointer`, 'git lfs pull');
      if (!name.endsWith('.onnx')) continue;
      await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ files: { [name]: '0'.repeat(64) } }));
      await fails(t, Inverter.load(folders), 'MODEL_INVALID', `${path.join(at, name)} is a Git LFS pointer`);
    }
    await works(t);
  });

  for (const name of filesOf[kind]) {
    test(`${kind}: no ${name}`, async (t) => {
      const at = await folder(kind, { files: { [name]: null } });
      await refusesToLoad(t, { clip: await folder('clip'), [kind]: at }, 'MODEL_NOT_FOUND', path.join(at, name));
    });

    test(`${kind}: a directory where ${name} should be`, async (t) => {
      const at = await folder(kind, { files: { [name]: null } });
      await mkdir(path.join(at, name));
      const code = name.endsWith('.onnx') ? 'MODEL_INVALID' : 'MODEL_NOT_FOUND';
      await refusesToLoad(t, { clip: await folder('clip'), [kind]: at }, code, path.join(at, name), 'directory');
    });

    test(`${kind}: a broken ${name}`, async (t) => {
      const whole = await readFile(path.join(fixtures, kind, name));
      const parts = [0, 0.1, 0.5, 0.95].map((part) => whole.subarray(0, Math.floor(whole.length * part)));
      const noise = Uint8Array.from({ length: 2000 }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 13) & 255);
      for (const content of [...parts, 'This is something else.\n', noise]) {
        const at = await folder(kind, { files: { [name]: content } });
        const options = { clip: await folder('clip'), [kind]: at };
        await fails(t, Inverter.load(options), 'MODEL_INVALID', path.join(at, name));
      }
      await works(t);
    });
  }

  for (const name of filesOf[kind].filter((file) => file.endsWith('.json'))) {
    test(`${kind}: ${name} of something other than an object`, async (t) => {
      for (const content of ['null', '[]', '7', '"text"', 'true']) {
        const at = await folder(kind, { files: { [name]: content } });
        const options = { clip: await folder('clip'), [kind]: at };
        await fails(t, Inverter.load(options), 'MODEL_INVALID', path.join(at, name), 'expected object');
      }
      await works(t);
    });
  }
}

// Fields that do not fit.

const wrongFields: [kind: 'dllm' | 'clip', file: string, fields: Json][] = [
  ...[-1, 1.5, '1'].map((id): (typeof wrongFields)[0] => ['dllm', 'config.json', { mask_token_id: id }]),
  ...[-1, [], [0, -1], 'eos', [0.5]].map((id): (typeof wrongFields)[0] => [
    'dllm',
    'config.json',
    { eos_token_id: id },
  ]),
  ['dllm', 'config.json', { max_position_embeddings: undefined }],
  ['dllm', 'config.json', { max_position_embeddings: 0 }],
  ['dllm', 'config.json', { vocab_size: 0 }],
  ['dllm', 'config.json', { vocab_size: '12' }],
  ['dllm', 'config.json', { condition: { input: 'image_embeds', from: 'dino' } }],
  ['dllm', 'config.json', { condition: { from: 'clip' } }],
  ['dllm', 'config.json', { condition: { input: 'image_embeds', from: 'clip', scale: 2 } }],
  ['dllm', 'tokenizer.json', { model: undefined }],
  ['dllm', 'tokenizer.json', { model: { type: 'Nonsense' } }],
  ['dllm', 'tokenizer.json', { decoder: undefined }],
  ['dllm', 'tokenizer.json', { decoder: { type: 'Nonsense' } }],
  ['dllm', 'tokenizer.json', { pre_tokenizer: { type: 'Nonsense' } }],
  ['dllm', 'tokenizer.json', { added_tokens: 5 }],
  ['clip', 'config.json', { projection_dim: 0 }],
  ['clip', 'config.json', { text_config: { max_position_embeddings: -1 } }],
  ['clip', 'preprocessor_config.json', { size: undefined }],
  ['clip', 'preprocessor_config.json', { size: { width: 8 } }],
  ['clip', 'preprocessor_config.json', { size: { shortest_edge: 0 } }],
  ['clip', 'preprocessor_config.json', { size: 7.5 }],
  ['clip', 'preprocessor_config.json', { crop_size: { width: 8 } }],
  ['clip', 'preprocessor_config.json', { resample: 9 }],
  ['clip', 'preprocessor_config.json', { do_resize: 'yes' }],
  ['clip', 'preprocessor_config.json', { rescale_factor: '1/255' }],
  ['clip', 'preprocessor_config.json', { image_mean: [0.5, 0.5] }],
  ['clip', 'preprocessor_config.json', { image_std: undefined }],
  ['clip', 'preprocessor_config.json', { image_std: [0.5, 0, 0.5] }],
  ['clip', 'tokenizer_config.json', { pad_token: 7 }],
  ['clip', 'tokenizer_config.json', { model_max_length: undefined }],
  ['clip', 'tokenizer_config.json', { model_max_length: 1e30 }],
  ['clip', 'tokenizer_config.json', { model_max_length: 'long' }],
  ['clip', 'tokenizer_config.json', { model_max_length: 0 }],
  ['clip', 'tokenizer_config.json', { model_max_length: -3 }],
  ['clip', 'tokenizer_config.json', { model_max_length: 2.5 }],
];
for (const [kind, file, fields] of wrongFields) {
  test(`${kind}: ${file} with ${inspect(fields, { depth: 5, breakLength: Infinity })}`, async (t) => {
    const at = await folder(kind, { json: { [file]: fields } });
    const options = { dllm: await folder('dllm'), clip: await folder('clip'), [kind]: at };
    const [field = ''] = Object.keys(fields);
    const named = file === 'tokenizer.json' ? [] : [field];
    await refusesToLoad(t, options, 'MODEL_INVALID', path.join(at, file), ...named);
  });
}

test('a mask that also ends the prompt', async (t) => {
  const at = await folder('dllm', { json: { 'config.json': { eos_token_id: [eos, mask] } } });
  const options = { dllm: at, clip: await folder('clip') };
  await refusesToLoad(t, options, 'MODEL_INVALID', path.join(at, 'config.json'), 'mask_token_id');
});

// Graphs with other inputs and outputs.

const interfaces: Record<string, string[]> = {
  dllm_other_input: ['int64 input "input_ids"', 'int64 "ids"'],
  dllm_int32_ids: ['int64 input "input_ids"', 'int32 "input_ids"'],
  dllm_ids_of_rank_1: ['[states, positions]', '"input_ids" [?]'],
  dllm_ids_of_rank_3: ['[states, positions]', '"input_ids" [?, ?, 1]'],
  dllm_extra_input: ['int64 "attention_mask" [?, ?]'],
  dllm_no_logits: ['float32 output "logits"', '"scores"'],
  dllm_logits_of_rank_2: ['[states, positions, vocab]', '"logits" [?, 12]'],
  dllm_float64_logits: ['float32 output "logits"', 'float64 "logits"'],
  dllm_batch_of_2: ['2 states at once', '"input_ids" [2, ?]', 'dynamic'],
  vision_other_input: ['float32 input "pixel_values"', '"pixels"'],
  vision_float64: ['float32 input "pixel_values"', 'float64'],
  vision_4_channels: ['[images, 3, 8, 8]', '[?, 4, 8, 8]'],
  vision_batch_of_2: ['2 images at once', '"pixel_values" [2, 3, 8, 8]', 'dynamic'],
  vision_no_output: ['float32 output "image_embeds"', '"pooled"'],
  text_int32_ids: ['int64 input "input_ids"', 'int32'],
  text_batch_of_2: ['2 texts at once', '"input_ids" [2, ?]', 'dynamic'],
  text_width_of_6: ['6 tokens only', 'dynamic'],
  text_no_output: ['float32 output "text_embeds"', '"summed"'],
  text_of_8: ['"text_embeds" [texts, 4]', '[?, 8]'],
};
for (const [graph, named] of Object.entries(interfaces)) {
  test(`interface: ${graph}`, async (t) => {
    const kind = graph.startsWith('dllm') ? 'dllm' : 'clip';
    const file = kind === 'dllm' ? 'model.onnx' : graph.startsWith('vision') ? 'vision_model.onnx' : 'text_model.onnx';
    const change = kind === 'dllm' ? unconditional(graph.slice(5)) : { graphs: { [file]: graph } };
    const at = await folder(kind, change);
    const options = { dllm: await folder('dllm'), clip: await folder('clip'), [kind]: at };
    await refusesToLoad(t, options, 'MODEL_INTERFACE', path.join(at, file), ...named);
  });
}

async function refusesDllm(t: ExecutionContext, change: Change, code: ErrorCode, ...named: string[]): Promise<void> {
  const at = await folder('dllm', change);
  await refusesToLoad(t, { dllm: at, clip: await folder('clip') }, code, at, ...named);
}

test('a dLLM whose condition is of another size than CLIP’s embedding', async (t) => {
  const change = { graphs: { 'model.onnx': 'dllm_conditioned_8' } };
  await refusesDllm(t, change, 'MODEL_INTERFACE', '"image_embeds" [states, 4]', '[?, 8]');
  const options = { dllm: await folder('dllm') }; // with the demo CLIP of 256
  await refusesToLoad(t, options, 'MODEL_INTERFACE', '"image_embeds" [states, 256]', '[?, 4]');
});

test('a condition that graph and config do not both have', async (t) => {
  const without = { json: { 'config.json': { condition: undefined } } };
  await refusesDllm(t, without, 'MODEL_INTERFACE', 'float32 "image_embeds" [?, 4]', 'besides input_ids');
  const graphs = { 'model.onnx': 'dllm_plain' };
  await refusesDllm(t, { graphs }, 'MODEL_INTERFACE', 'no float32 input "image_embeds"');
  const named = { json: { 'config.json': { condition: { input: 'picture', from: 'clip' } } } };
  await refusesDllm(t, named, 'MODEL_INTERFACE', '"picture"', '"image_embeds"');
});

test('a vocab_size that contradicts the graph', async (t) => {
  for (const vocab_size of [11, 13, 2048]) {
    const change = { json: { 'config.json': { vocab_size } } };
    await refusesDllm(t, change, 'MODEL_INTERFACE', 'vocabulary size 12', String(vocab_size));
  }
});

test('a vocabulary size that only the config has, and one that nothing has', async (t) => {
  await t.notThrowsAsync((await open(t, unconditional('open_vocabulary'))).invert(image(), short));
  const change = unconditional('open_vocabulary', { vocab_size: undefined });
  await refusesDllm(t, change, 'MODEL_INTERFACE', 'vocabulary size', 'config.json');
  await t.notThrowsAsync((await open(t, unconditional('plain', { vocab_size: undefined }))).invert(image(), short));
});

test('a projection_dim that contradicts the graph, that only the config has, that nothing has', async (t) => {
  const clip = await folder('clip', { json: { 'config.json': { projection_dim: 512 } } });
  await refusesToLoad(t, { clip }, 'MODEL_INTERFACE', clip, 'embedding size 4', '512');
  const graphs = { 'vision_model.onnx': 'vision_open_size' };
  await t.notThrowsAsync((await open(t, {}, { graphs })).invert(image(), short));
  const neither = await folder('clip', { graphs, json: { 'config.json': { projection_dim: undefined } } });
  await refusesToLoad(t, { clip: neither }, 'MODEL_INTERFACE', neither, 'embedding size', 'config.json');
});

/** The dLLM's tokenizer.json with another vocabulary. */
function tokenizerWith(change: (vocab: Record<string, number>) => void): Record<string, Json> {
  const whole = JSON.parse(readFileSync(path.join(fixtures, 'dllm', 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number> };
  };
  change(whole.model.vocab);
  return { 'tokenizer.json': whole };
}

test('a tokenizer with more tokens than the logits have columns', async (t) => {
  const json = tokenizerWith((words) => (words['moon'] = 12));
  await refusesDllm(t, { json }, 'TOKENIZER_MISMATCH', 'token id 12', '12 columns');
  const far = tokenizerWith((words) => (words['moon'] = 5000));
  await refusesDllm(t, { json: far }, 'TOKENIZER_MISMATCH', 'token id 5000', '12 columns');
});

test('an added token beyond the columns', async (t) => {
  const [{ added_tokens: added } = { added_tokens: [] }] = Object.values(tokenizerWith(() => undefined)) as {
    added_tokens: Json[];
  }[];
  const moon = { ...added[0], id: 12, content: '<moon>' };
  const json = { 'tokenizer.json': { added_tokens: [...added, moon] } };
  await refusesDllm(t, { json }, 'TOKENIZER_MISMATCH', 'token id 12', '12 columns');
});

test('a mask or a stop id beyond the columns', async (t) => {
  const masked = { json: { 'config.json': { mask_token_id: 12 } } };
  await refusesDllm(t, masked, 'TOKENIZER_MISMATCH', 'token id 12', '12 columns');
  const stopped = { json: { 'config.json': { eos_token_id: [0, 99] } } };
  await refusesDllm(t, stopped, 'TOKENIZER_MISMATCH', 'token id 99', '12 columns');
});

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

// What right models give, by computations of their own.

function bySlot(particles: Particle[]): Particle[] {
  return [...particles].sort((a, b) => a.slot - b.slot);
}

/** x [n] · matrix [n, m] */
function times(x: number[], matrix: number[][]): number[] {
  const columns = matrix[0] ?? [];
  return columns.map((_, j) => x.reduce((sum, value, i) => sum + value * (matrix[i]?.[j] ?? NaN), 0));
}

function imageEmbedding(colour: number[]): number[] {
  const mean = colour.map((value) => (value / 255 - 0.5) / 0.5);
  return times(mean, weights.image).map((value, i) => value + (weights.bias[i] ?? NaN));
}

/** Of the first `limit` CLIP ids of a prompt, the end token in the last place. */
function textEmbedding(prompt: string, limit = Infinity): number[] {
  const words = prompt.split(' ').filter((word) => word !== '');
  const ids = [1, ...words.map((word) => 4 + weights.words.indexOf(word))].slice(0, limit - 1);
  const rows = [...ids, 2].map((id) => weights.text[id] ?? []);
  return [0, 1, 2, 3].map((j) => rows.reduce((sum, row) => sum + (row[j] ?? NaN), 0));
}

function cosine(a: number[], b: number[]): number {
  const dot = (x: number[], y: number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? NaN), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function near(t: ExecutionContext, actual: number, wanted: number, tolerance = 1e-6): void {
  t.true(Math.abs(actual - wanted) <= tolerance, `${actual} should be ${wanted}`);
}

const colours = [
  [200, 120, 40],
  [0, 0, 0],
  [255, 255, 255],
  [10, 250, 90],
];

test('rewardClip is the cosine, of embeddings that are not of unit length', async (t) => {
  const inverter = await open(t);
  for (const colour of colours) {
    const options = { particles: 16, steps: 3, length: 8, minLength: 1, lambdaClip: 0 };
    const { particles, prompt, rewardClip } = await inverter.invert(image(...colour), options);
    t.true(new Set(particles.map((one) => one.prompt.split(' ').length)).size > 1); // texts of several widths
    for (const particle of particles) {
      near(t, particle.rewardClip, cosine(imageEmbedding(colour), textEmbedding(particle.prompt)));
    }
    near(t, rewardClip, cosine(imageEmbedding(colour), textEmbedding(prompt)));
  }
});

test('the prompt is the words before the first stop', async (t) => {
  const inverter = await open(t);
  const { particles } = await inverter.invert(image(), { particles: 32, steps: 2, length: 8, minLength: 2 });
  t.true(particles.some(({ tokens }) => tokens.includes(eos)));
  for (const { tokens, prompt } of particles) {
    t.true(tokens.every((id) => id === eos || (id >= firstWord && id < vocab)));
    const end = tokens.indexOf(eos);
    t.true(end === -1 || end >= 2);
    const words = tokens.slice(0, end === -1 ? tokens.length : end).map((id) => weights.words[id - firstWord]);
    t.is(prompt, words.join(' '));
  }
});

test('a prompt longer than CLIP reads is cut before its end token, with a warning', async (t) => {
  for (const json of [
    { 'config.json': { text_config: { max_position_embeddings: 5 } } },
    { 'tokenizer_config.json': { model_max_length: 5 } },
  ]) {
    const inverter = await open(t, {}, { json });
    const options = { particles: 8, steps: 2, length: 8, minLength: 8 };
    const { particles, warnings } = await inverter.invert(image(), options);
    for (const particle of particles) {
      near(t, particle.rewardClip, cosine(imageEmbedding([200, 120, 40]), textEmbedding(particle.prompt, 5)));
    }
    t.is(warnings.length, 1);
    t.true(warnings[0]?.includes('5 tokens'));
    const fitting = await inverter.invert(image(), { ...options, length: 3, minLength: 3 });
    t.deepEqual(fitting.warnings, []);
  }
});

/** Σ log softmax of what a first forward gives for the tokens of one row, suppressed columns left out. */
function logProbability(tokens: number[], logits: number[], minLength: number): number {
  return tokens.reduce((sum, token, position) => {
    const allowed = logits.filter((_, id) => id !== mask && id !== unk && (id !== eos || position >= minLength));
    const mass = allowed.reduce((total, logit) => total + Math.exp(logit), 0);
    return sum + (logits[token] ?? NaN) - Math.log(mass);
  }, 0);
}

const maskRow = weights.token[mask] ?? [];

test('a dLLM without image condition draws from its own logits, whatever the image', async (t) => {
  const inverter = await open(t, unconditional());
  const options = { particles: 8, steps: 1, length: 7, minLength: 3, lambdaClip: 0, lambdaEdit: 0, seed: 11 };
  const results = await Promise.all(colours.map((colour) => inverter.invert(image(...colour), options)));
  for (const { particles } of results) {
    for (const { tokens, logProb } of particles) near(t, logProb, logProbability(tokens, maskRow, 3), 1e-5);
  }
  const rows = results.map(({ particles }) => bySlot(particles).map(({ tokens }) => tokens));
  for (const other of rows) t.deepEqual(other, rows[0]);
});

test('a dLLM with image condition gets CLIP’s embedding of the image', async (t) => {
  const inverter = await open(t);
  const options = { particles: 8, steps: 1, length: 7, minLength: 3, lambdaClip: 0, lambdaEdit: 0, seed: 11 };
  const rows = new Set<string>();
  for (const colour of colours) {
    const shift = times(imageEmbedding(colour), weights.condition);
    const logits = maskRow.map((logit, id) => logit + (shift[id] ?? NaN));
    const { particles } = await inverter.invert(image(...colour), options);
    for (const { tokens, logProb } of particles) near(t, logProb, logProbability(tokens, logits, 3), 1e-4);
    rows.add(JSON.stringify(bySlot(particles).map(({ tokens }) => tokens)));
  }
  t.is(rows.size, colours.length);
});

test('all particles share the first forward, and equal ones every other', async (t) => {
  const inverter = await open(t, unconditional('noisy'));
  const options = { particles: 6, steps: 2, length: 6, couplingOver: 'all' } as const;
  const { trace } = await inverter.invert(image(), options);
  const [first, second] = trace;
  t.is(new Set(first?.rewardEdit).size, 1); // r_edit over all positions depends on the forward alone
  t.true(new Set(second?.rewardEdit).size > 1);
});

test('one particle and many: the first forward is the same', async (t) => {
  const inverter = await open(t, unconditional());
  const options = { steps: 1, length: 6, couplingOver: 'all' } as const;
  const one = await inverter.invert(image(), { ...options, particles: 1 });
  const many = await inverter.invert(image(), { ...options, particles: 50 });
  t.deepEqual(new Set(many.trace[0]?.rewardEdit), new Set(one.trace[0]?.rewardEdit));
});

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

test('a vocabulary no model has is refused before memory is asked for', async (t) => {
  await refusesDllm(t, { json: { 'config.json': { vocab_size: 5e9 } } }, 'MODEL_INVALID', 'vocab_size');
});
