// fkinv.json: what it may hold, ids, positions, and what it gives to the sampler.
import { mkdir, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import test from 'ava';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { FkinvError } from '../../lib/errors';
import { Inverter } from '../../lib/inverter';
import { clipManifest, dllmManifest } from '../../lib/models/manifest';
import { ModelFolder } from '../../lib/models/model-folder';
import { loadDemo, root as packageRoot } from '../helpers/models-demo';
import {
  type Json,
  blue,
  clip,
  collect,
  engine,
  eos,
  fails,
  folder,
  green,
  image,
  loadDllm,
  mask,
  openInverter,
  plain,
  red,
  setUp,
  token,
  unk,
  words,
} from '../helpers/manifest-folders';

// docs/manifest.md says what is tested here.

setUp();

// The file.

test('no manifest and an empty one are the same', async (t) => {
  for (const what of [{}, { manifest: {} }]) {
    const dllm = await loadDllm(what);
    const { shift, prefix, suffix, defaults, maxBatch, fixedLength, maxLength, maskId, stops, suppressed } = dllm;
    t.deepEqual({ shift, prefix, suffix }, { shift: 0, prefix: [], suffix: [] });
    t.deepEqual({ maxLength, fixedLength, maxBatch }, { maxLength: 8, fixedLength: undefined, maxBatch: undefined });
    t.deepEqual(
      { maskId, stops, suppressed, defaults },
      { maskId: mask, stops: [eos], suppressed: [mask, unk], defaults: {} },
    );
    t.like(dllm.graph(), {
      ids: 'input_ids',
      condition: 'image_embeds',
      attentionMask: '',
      positionIds: '',
      timestep: '',
      logits: 'logits',
      vocab: 12,
      shift: 0,
      suffix: new Int32Array(0),
    });
  }
});

test('a manifest that is no JSON, no object, or no file', async (t) => {
  for (const content of ['', '{', '[]', 'null', '"text"']) {
    const at = await folder('dllm');
    const file = path.join(at, 'fkinv.json');
    await writeFile(file, content);
    await fails(t, Dllm.load(engine, new ModelFolder(at), clip), 'MODEL_INVALID', file);
  }
  const at = await folder('dllm');
  const file = path.join(at, 'fkinv.json');
  await mkdir(file);
  await fails(t, Dllm.load(engine, new ModelFolder(at), clip), 'MODEL_NOT_FOUND', file);
});

const faults: [kind: 'dllm' | 'clip', manifest: Json, named: string][] = [
  ['dllm', { maskID: 1 }, 'maskID'],
  ['dllm', { graphs: {} }, 'graphs'],
  ['dllm', { tensors: { mask: 'attention_mask' } }, 'mask'],
  ['dllm', { tensors: { ids: '' } }, 'tensors.ids'],
  ['dllm', { tensors: { attentionMask: 'input_ids' } }, 'two inputs have the same name'],
  ['dllm', { condition: { input: 'image_embeds', from: 'clip', absent: 'zeros' } }, 'condition'],
  ['dllm', { condition: { input: 'image_embeds', from: 'dino' } }, 'condition'],
  ['dllm', { condition: 'clip' }, 'condition'],
  ['dllm', { condition: { input: 'image_embeds', from: 'clip', output: 'image_embeds' } }, 'condition'],
  ['dllm', { condition: { input: 'image_embeds', from: '../tower.onnx', output: 'features' } }, 'condition'],
  ['dllm', { condition: { input: 'image_embeds', from: 'tower.onnx' } }, 'condition'],
  ['dllm', { condition: { from: 'tower.onnx', output: 'features' } }, 'condition'],
  ['dllm', { condition: { input: 'image_embeds', from: 'tower.onnx', output: 'ids', prefix: {} } }, 'condition'],
  ...[true, { offset: -1 }, { before: 3 }, { after: [0.5] }, { behind: [] }].map((prefix): (typeof faults)[0] => [
    'dllm',
    { condition: { from: 'vq.onnx', output: 'ids', prefix } },
    'condition',
  ]),
  ...[-1, 0.5, '1', null].map((maskId): (typeof faults)[0] => ['dllm', { maskId }, 'maskId']),
  ...[[], [-1], 0, ['<eos>']].map((stopIds): (typeof faults)[0] => ['dllm', { stopIds }, 'stopIds']),
  ...[[-1], 3, ['cat']].map((suppressedIds): (typeof faults)[0] => ['dllm', { suppressedIds }, 'suppressedIds']),
  ...[0, 1.5, '8'].map((maxPositions): (typeof faults)[0] => ['dllm', { maxPositions }, 'maxPositions']),
  ...[-1, 2, true, '1'].map((logitShift): (typeof faults)[0] => ['dllm', { logitShift }, 'logitShift']),
  ...[3, [-1], [0.5], ['red']].map((prefix): (typeof faults)[0] => ['dllm', { prefix }, 'prefix']),
  ...[3, [-1], [0.5], ['red']].map((suffix): (typeof faults)[0] => ['dllm', { suffix }, 'suffix']),
  ...[0, 2.5, '4'].map((maxBatch): (typeof faults)[0] => ['dllm', { maxBatch }, 'maxBatch']),
  ...['', '../model.onnx', 'onnx/../../model.onnx', '/model.onnx', 3].map((graph): (typeof faults)[0] => [
    'dllm',
    { graph },
    'graph',
  ]),
  ['dllm', { parity: '../parity.json' }, 'parity'],
  ['dllm', { defaults: 7 }, 'defaults'],
  ['dllm', { defaults: { seed: 1 } }, 'seed'],
  ['dllm', { defaults: { lambdaClip: 1 } }, 'lambdaClip'],
  ['dllm', { defaults: { order: 'entropic' } }, 'defaults.order'],
  ['dllm', { defaults: { steps: 0 } }, 'defaults.steps'],
  ['dllm', { defaults: { temperature: 0.05 } }, 'defaults.temperature'],
  ['dllm', { defaults: { topK: 0 } }, 'defaults.topK'],
  ['dllm', { defaults: { topP: 0 } }, 'defaults.topP'],
  ['dllm', { defaults: { blockLength: 0 } }, 'defaults.blockLength'],
  ['dllm', { defaults: null, attention: 'block' }, 'defaults'],
  ['dllm', { defaults: { length: 9 } }, 'defaults.length'],
  ['dllm', { defaults: { minLength: 0 } }, 'defaults.minLength'],
  ['dllm', { defaults: { particles: 0 } }, 'defaults.particles'],
  ['dllm', { defaults: { guesses: 0 } }, 'defaults.guesses'],
  ['dllm', { defaults: { resampling: 'bootstrap' } }, 'defaults.resampling'],
  ['dllm', { defaults: { essThreshold: 1.1 } }, 'defaults.essThreshold'],
  ['clip', { prefix: 'a photo' }, 'prefix'],
  ['clip', { graphs: { image: 'vision_model.onnx' } }, 'image'],
  ['clip', { graphs: { text: '../text_model.onnx' } }, 'graphs.text'],
  ...(['dllm', 'clip'] as const).flatMap((kind): typeof faults => [
    [kind, { optimization: 'most' }, 'optimization'],
    [kind, { optimization: 99 }, 'optimization'],
    [kind, { weightType: 16 }, 'weightType'],
    [kind, { licence: {} }, 'licence'],
    [kind, { license: 'MIT' }, 'license'],
    [kind, { files: ['config.json'] }, 'files'],
    [kind, { files: { 'config.json': 'abc' } }, 'files.config.json'],
    [kind, { files: { '../config.json': '0'.repeat(64) } }, '../config.json'],
  ]),
];
for (const [kind, manifest, named] of faults) {
  test(`${kind}: ${inspect(manifest, { depth: 5, breakLength: Infinity })} is refused`, async (t) => {
    const at = await folder(kind, { manifest });
    const load =
      kind === 'dllm' ? Dllm.load(engine, new ModelFolder(at), clip) : Clip.load(engine, new ModelFolder(at));
    await fails(t, load, 'MODEL_INVALID', path.join(at, 'fkinv.json'), named);
  });
}

test('what is for people changes nothing', async (t) => {
  const manifest = { weightType: 'float16', licence: 'Apache-2.0', parity: 'parity.json' };
  await t.notThrowsAsync(loadDllm({ manifest }));
});

// Ids.

test('the mask: of the manifest, else of config.json, else of tokenizer_config.json', async (t) => {
  const tokens = { 'tokenizer_config.json': { mask_token: 'blue' } };
  const without = { 'config.json': { mask_token_id: undefined } };
  const none = { 'config.json': { mask_token_id: null } };
  t.is((await loadDllm({ manifest: { maskId: green }, json: tokens })).maskId, green);
  t.is((await loadDllm({ manifest: {}, json: tokens })).maskId, mask);
  t.is((await loadDllm({ json: { ...tokens, ...without } })).maskId, blue);
  t.is((await loadDllm({ json: none })).maskId, mask);
  t.is(
    (await loadDllm({ json: { ...without, 'tokenizer_config.json': { mask_token: { content: 'red' } } } })).maskId,
    red,
  );
  const absent = { ...without, 'tokenizer_config.json': { mask_token: undefined } };
  await fails(t, loadDllm({ json: absent }), 'MODEL_INVALID', '[MASK]', 'maskId', 'mask_token_id in', 'mask_token in');
  t.is((await loadDllm({ manifest: { maskId: green }, json: absent })).maskId, green);
});

test('the stops: of the manifest, else of config.json, else of tokenizer_config.json', async (t) => {
  const tokens = { 'tokenizer_config.json': { eos_token: 'blue' } };
  const without = { 'config.json': { eos_token_id: undefined } };
  t.deepEqual((await loadDllm({ manifest: { stopIds: [green, eos] }, json: tokens })).stops, [green, eos]);
  t.deepEqual((await loadDllm({ json: tokens })).stops, [eos]);
  t.deepEqual((await loadDllm({ json: { ...tokens, ...without } })).stops, [blue]);
  const absent = { ...without, 'tokenizer_config.json': { eos_token: null } };
  await fails(
    t,
    loadDllm({ json: absent }),
    'MODEL_INVALID',
    'ends a prompt',
    'stopIds',
    'eos_token_id in',
    'eos_token in',
  );
  t.deepEqual((await loadDllm({ manifest: { stopIds: [green] }, json: absent })).stops, [green]);
  await fails(t, loadDllm({ manifest: { stopIds: [mask] } }), 'MODEL_INVALID', 'maskId among stopIds');
});

test('a mask_token or eos_token that the tokenizer has not', async (t) => {
  for (const [id, field] of [
    ['mask_token_id', 'mask_token'],
    ['eos_token_id', 'eos_token'],
  ] as const) {
    for (const content of ['purple', 'red green', '']) {
      const json = { 'config.json': { [id]: undefined }, 'tokenizer_config.json': { [field]: content } };
      await fails(t, loadDllm({ json }), 'MODEL_INVALID', 'tokenizer_config.json', `${field} "${content}"`);
    }
  }
});

test('suppressed ids are never drawn, and are no stops', async (t) => {
  const { suppressed } = await loadDllm({ manifest: { suppressedIds: [blue, red] } });
  t.deepEqual([...suppressed].sort(), [mask, unk, red, blue]);
  const inverter = await openInverter(t, { ...plain, manifest: { suppressedIds: [blue, red] } });
  const { particles } = await inverter.invert(image, { particles: 40, steps: 2, length: 8, minLength: 8 });
  const drawn = new Set(particles.flatMap(({ tokens }) => tokens));
  t.false(drawn.has(blue) || drawn.has(red));
  t.true(drawn.has(green));
  const both = loadDllm({ manifest: { suppressedIds: [green, eos] } });
  await fails(t, both, 'MODEL_INVALID', 'fkinv.json', 'suppressedIds has 0');
});

test('ids beyond the columns of the logits', async (t) => {
  for (const manifest of [
    { maskId: 12 },
    { stopIds: [0, 12] },
    { suppressedIds: [12] },
    { prefix: [12] },
    { suffix: [12] },
  ]) {
    await fails(t, loadDllm({ manifest }), 'TOKENIZER_MISMATCH', 'token id 12', '12 columns');
  }
});

test('withoutSpace: all ids but those of text that begins with a space', async (t) => {
  const { dllm, engine: another } = await loadDemo();
  const without = new Set(dllm.withoutSpace);
  t.is(dllm.withoutSpace, dllm.withoutSpace, 'made once');
  for (let id = 0; id < dllm.vocab; id++) t.is(without.has(id), !dllm.label(id).startsWith(' '), `id ${id}`);
  t.true(without.size > 100 && without.size < dllm.vocab - 100);
  await another.dispose();
  t.is((await loadDllm()).withoutSpace.length, token.length);
});

// Positions.

test('prefix and suffix are ids or texts, encoded without special tokens, and take positions', async (t) => {
  const { suffix, prefix, maxLength, ...dllm } = await loadDllm({
    manifest: { prefix: 'red <mask> green', suffix: [unk, eos] },
    json: {
      'tokenizer.json': {
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: '<unk>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
          pair: [],
          special_tokens: { '<unk>': { id: '<unk>', ids: [unk], tokens: ['<unk>'] } },
        },
      },
    },
  });
  t.deepEqual(dllm.tokenizer.encode('red'), [unk, red]);
  t.deepEqual({ prefix, suffix, maxLength }, { prefix: [red, mask, green], suffix: [unk, eos], maxLength: 3 });
  t.deepEqual((await loadDllm({ manifest: { suffix: 'blue' } })).graph().suffix, Int32Array.of(blue));
});

test('most positions: of the manifest, else of config.json', async (t) => {
  t.is((await loadDllm({ manifest: { maxPositions: 200000 } })).maxLength, 200000);
  const json = { 'config.json': { max_position_embeddings: undefined } };
  t.is((await loadDllm({ manifest: { maxPositions: 20, prefix: [red] }, json })).maxLength, 19);
  await fails(t, loadDllm({ json }), 'MODEL_INVALID', 'max_position_embeddings in config.json', 'maxPositions in');
});

test('prefix and suffix that leave no position', async (t) => {
  t.is((await loadDllm({ manifest: { prefix: [red, red, red, red], suffix: [red, red, red] } })).maxLength, 1);
  const full = { prefix: [red, red, red, red], suffix: [red, red, red, red] };
  await fails(t, loadDllm({ manifest: full }), 'MODEL_INVALID', 'fkinv.json', '8 of 8 positions');
});

test('a graph that fixes its positions', async (t) => {
  for (const maxPositions of [undefined, 9]) {
    const what = { graph: 'dllm_length_of_6', manifest: { prefix: [red], maxPositions } };
    const { fixedLength, maxLength } = await loadDllm(what);
    t.deepEqual({ fixedLength, maxLength }, { fixedLength: 5, maxLength: 5 });
  }
  const manifest = { tensors: { attentionMask: 'attention_mask' } };
  await fails(t, loadDllm({ graph: 'dllm_lengths_of_6_and_7', manifest }), 'MODEL_INTERFACE', 'at 6 and at 7');
});

// What the sampler gets.

test('defaults go before the package’s, and what is asked for before them', async (t) => {
  const given = {
    length: 5,
    minLength: 5,
    particles: 3,
    steps: 2,
    order: 'entropy',
    blockLength: 5,
    guesses: 2,
    resampling: 'stratified',
    essThreshold: 0.5,
    temperature: 0.7,
    topK: 6,
    topP: 0.9,
  } as const;
  t.deepEqual((await loadDllm({ manifest: { defaults: given } })).defaults, given);
  const inverter = await openInverter(t, { manifest: { defaults: given } });
  const bare = await openInverter(t, {});
  const results = async (one: Inverter, asked: object): Promise<object> => {
    const { particles, trace } = await one.invert(image, asked);
    return { particles, trace };
  };
  t.deepEqual(await results(inverter, {}), await results(bare, given));
  t.deepEqual(await results(inverter, { particles: 4 }), await results(bare, { ...given, particles: 4 }));
});

test('maxBatch limits the rows of a forward', async (t) => {
  const manifest = { maxBatch: 4 };
  t.is((await loadDllm({ manifest })).maxBatch, 4);
  const inverter = await openInverter(t, { manifest });
  await t.notThrowsAsync(inverter.invert(image, { particles: 4, steps: 1 }));
  await fails(t, inverter.invert(image, { particles: 5, steps: 1 }), 'BATCH_TOO_LARGE', '4 rows');
  await fails(t, inverter.invert(image, { steps: 1 }), 'BATCH_TOO_LARGE', 'the 8 of an image', '4 rows');
  const results = await collect(inverter.invertAll([image, image, image], { particles: 2, steps: 1 }));
  t.deepEqual(
    results.map((result) => (result instanceof FkinvError ? result.code : result.timings.images)),
    [1, 1, 1],
    'two are in flight, each by itself',
  );
  t.throws(() => inverter.invertAll([image], { particles: 2, maxBatch: 5 }), {
    code: 'BATCH_TOO_LARGE',
    message: /4 rows/,
  });
  const fitting = await openInverter(t, { manifest: { maxBatch: 4, defaults: { particles: 4, steps: 1 } } });
  t.is((await fitting.invert(image)).particles.length, 4);
});

// docs/manifest.md.

const document = readFileSync(path.join(packageRoot, 'docs', 'manifest.md'), 'utf8');

test('docs/manifest.md: its manifests are valid', (t) => {
  const examples = [...document.matchAll(/```json\n(.*?)```/gs)].map(([, json = '']) => JSON.parse(json) as Json);
  t.is(examples.length, 8, 'the last two are cases of parity: test/cli/models-command.test.ts runs them');
  const [byBlocks, llada, dream, lladaV, mmada, ofClip] = examples;
  t.like(dllmManifest.parse(byBlocks), { attention: 'block', blockGrid: 'row', defaults: { blockLength: 32 } });
  t.like(dllmManifest.parse(llada), { maskId: undefined, logitShift: 0, stopIds: [126081, 126348] });
  t.like(dllmManifest.parse(dream), { logitShift: 1, tensors: { positionIds: 'position_ids' } });
  t.like(dllmManifest.parse(lladaV), { condition: { input: 'image_features', from: 'onnx/vision_tower.onnx' } });
  t.like(dllmManifest.parse(mmada), { condition: { prefix: { before: [126089, 126084], offset: 126349 } } });
  t.notThrows(() => clipManifest.parse(ofClip));
});

test('docs/manifest.md: its tables have every key', (t) => {
  const keys = [...document.matchAll(/^\| `([\w.]+)`/gm)].map(([, key]) => key).sort();
  const fields = (schema: { shape: object }): string[] => Object.keys(schema.shape);
  const tensors = ['ids', 'attentionMask', 'positionIds', 'timestep', 'rows', 'logits'].map(
    (name) => `tensors.${name}`,
  );
  const image = ['from', 'output', 'input', 'prefix.before', 'prefix.offset', 'prefix.after'];
  const entry = [...image, 'clip.name', 'clip.text', 'clip.embedding'];
  const asked = ['instruction.text', 'instruction.hints'];
  const nested = [...tensors, ...entry.map((name) => `condition.${name}`), ...asked];
  const ofDllm = fields(dllmManifest).filter((key) => key !== 'tensors' && key !== 'instruction');
  const ofClip = ['graphs.vision', 'graphs.text', 'maxTokens', 'padded', 'padId'];
  t.deepEqual(keys, [...ofDllm, ...nested, ...ofClip].sort());
});

test('the tables are those of the graphs', (t) => {
  t.is(token.length, 3 + words.length);
  t.deepEqual([words[red - 3], words[green - 3], words[blue - 3]], ['red', 'green', 'blue']);
});
