// Model folders that are refused, and why: files, fields, graphs, vocabularies.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inspect } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { Inverter, type ErrorCode } from 'fkinv-native';
import {
  type Change,
  type Json,
  eos,
  fails,
  fixtures,
  folder,
  image,
  mask,
  open,
  refusesToLoad,
  root,
  setUp,
  short,
  tokenizerWith,
  unconditional,
  works,
} from '../helpers/altered-models';

setUp();

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
    const error = await fails(
      t,
      Inverter.load({ [kind]: missing }),
      'MODEL_NOT_FOUND',
      `the model folder ${missing} (`,
    );
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
      await fails(
        t,
        Inverter.load(folders),
        'MODEL_INVALID',
        `${path.join(at, name)} is a Git LFS pointer`,
        'git lfs pull',
      );
      if (!name.endsWith('.onnx')) continue;
      await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ files: { [name]: '0'.repeat(64) } }));
      await fails(t, Inverter.load(folders), 'MODEL_INVALID', `${path.join(at, name)} is a Git LFS pointer`);
    }
    await works(t);
  });

  // What a dLLM's config.json says may stand elsewhere (dllm-layouts.test.ts).
  for (const name of filesOf[kind].filter((file) => kind === 'clip' || file !== 'config.json')) {
    test(`${kind}: no ${name}`, async (t) => {
      const at = await folder(kind, { files: { [name]: null } });
      await refusesToLoad(t, { clip: await folder('clip'), [kind]: at }, 'MODEL_NOT_FOUND', path.join(at, name));
    });
  }

  for (const name of filesOf[kind]) {
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
  dllm_other_input: ['int64 or int32 input "input_ids"', 'int64 "ids"'],
  dllm_ids_of_rank_1: ['[states, positions]', '"input_ids" [?]'],
  dllm_ids_of_rank_3: ['[states, positions]', '"input_ids" [?, ?, 1]'],
  dllm_no_logits: ['float32 output "logits"', '"scores"'],
  dllm_logits_of_rank_2: ['[states, positions, vocab]', '"logits" [?, 12]'],
  dllm_float64_logits: ['float32 output "logits"', 'float64 "logits"'],
  dllm_batch_of_2: ['2 states at once', '"input_ids" [2, ?]', 'dynamic'],
  vision_other_input: ['float32 or float16 input "pixel_values"', '"pixels"'],
  vision_float64: ['float32 or float16 input "pixel_values"', 'float64'],
  vision_4_channels: ['[images, 3, 8, 8]', '[?, 4, 8, 8]'],
  vision_batch_of_2: ['2 images at once', '"pixel_values" [2, 3, 8, 8]', 'dynamic'],
  vision_no_output: ['float32 or float16 output "image_embeds"', '"pooled"'],
  text_batch_of_2: ['2 texts at once', '"input_ids" [2, ?]', 'dynamic'],
  text_no_output: ['float32 or float16 output "text_embeds"', '"summed"'],
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
  const another = 'belongs to another CLIP';
  await refusesDllm(t, change, 'MODEL_INTERFACE', '8 numbers in "image_embeds"', 'gives 4', another);
  const options = { dllm: await folder('dllm') }; // with the demo CLIP of 256
  await refusesToLoad(t, options, 'MODEL_INTERFACE', '4 numbers in "image_embeds"', 'gives 256', another);
});

test('a condition that graph and config do not both have', async (t) => {
  const without = { json: { 'config.json': { condition: undefined } } };
  await refusesDllm(t, without, 'MODEL_INTERFACE', 'float32 "image_embeds" [?, 4]', 'besides input_ids');
  const graphs = { 'model.onnx': 'dllm_plain' };
  await refusesDllm(t, { graphs }, 'MODEL_INTERFACE', 'no float32 or float16 input "image_embeds"');
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

test('a vocabulary no model has is refused before memory is asked for', async (t) => {
  await refusesDllm(t, { json: { 'config.json': { vocab_size: 5e9 } } }, 'MODEL_INVALID', 'vocab_size');
});
