import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { FkinvError, type ErrorCode } from '../../lib/errors';
import type { RawImage } from '../../lib/images/image';
import type { Inversion } from '../../lib/inversion';
import { Inverter } from '../../lib/inverter';
import { clipManifest, dllmManifest } from '../../lib/models/manifest';
import { ModelFolder } from '../../lib/models/model-folder';
import { cpuEngine } from '../helpers/cpu-engine';
import type { NativeEngine } from '../../lib/native/addon';
import { loadDemo, preparedFor, root as packageRoot } from '../helpers/models-demo';

// docs/manifest.md says what is tested here; test/fixtures/make_models.py tells what the graphs are.

type Json = Record<string, unknown>;
interface Folder {
  /** The graph models/graphs/`graph`.onnx in place of the folder's own; it takes no image condition. */
  graph?: string;
  /** Files of models/ to add, by their names in the folder. */
  files?: Record<string, string>;
  /** Contents of fkinv.json; none where it is undefined. */
  manifest?: unknown;
  /** Fields of JSON files to set; undefined removes one. */
  json?: Record<string, Json>;
}

const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
const { token, words } = JSON.parse(readFileSync(path.join(fixtures, 'weights.json'), 'utf8')) as {
  token: number[][];
  words: string[];
};
const [eos, mask, unk, red, green, blue] = [0, 1, 2, 3, 4, 5] as const;
const image = { data: new Uint8Array(10 * 5 * 3).fill(90), width: 10, height: 5, channels: 3 } as const;

let root: string;
let count = 0;
let engine: NativeEngine;
let clip: Clip;
test.before(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'fkinv-manifest-'));
  engine = cpuEngine(2);
  clip = await Clip.load(engine, new ModelFolder(path.join(fixtures, 'clip')));
});
test.after.always(async () => {
  await engine.dispose();
  await rm(root, { recursive: true });
});

async function folder(kind: 'dllm' | 'clip', { graph, files = {}, manifest, json = {} }: Folder = {}): Promise<string> {
  const at = path.join(root, `${kind}-${++count}`);
  await cp(path.join(fixtures, kind), at, { recursive: true });
  for (const [name, from] of Object.entries(files)) await cp(path.join(fixtures, from), path.join(at, name));
  const changes = { ...json };
  if (graph !== undefined) {
    await cp(path.join(fixtures, 'graphs', `${graph}.onnx`), path.join(at, 'model.onnx'));
    changes['config.json'] = { condition: undefined, ...json['config.json'] };
  }
  for (const [name, fields] of Object.entries(changes)) {
    const file = path.join(at, name);
    await writeFile(file, JSON.stringify({ ...(JSON.parse(await readFile(file, 'utf8')) as Json), ...fields }));
  }
  if (manifest !== undefined) await writeFile(path.join(at, 'fkinv.json'), JSON.stringify(manifest));
  return at;
}

const plain = { graph: 'dllm_plain' };

async function loadDllm(what: Folder = {}): Promise<Dllm> {
  return Dllm.load(engine, new ModelFolder(await folder('dllm', what)), clip);
}

async function fails(t: ExecutionContext, load: Promise<unknown>, code: ErrorCode, ...named: string[]): Promise<void> {
  const error = await t.throwsAsync(load, { instanceOf: FkinvError, code });
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
}

async function openInverter(t: ExecutionContext, what: Folder): Promise<Inverter> {
  const inverter = await Inverter.load({ dllm: await folder('dllm', what), clip: path.join(fixtures, 'clip') });
  t.teardown(() => inverter.dispose());
  return inverter;
}

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
  await fails(t, loadDllm({ json: absent }), 'MODEL_INVALID', 'config.json: mask_token_id', 'maskId', 'mask_token of');
  t.is((await loadDllm({ manifest: { maskId: green }, json: absent })).maskId, green);
});

test('the stops: of the manifest, else of config.json, else of tokenizer_config.json', async (t) => {
  const tokens = { 'tokenizer_config.json': { eos_token: 'blue' } };
  const without = { 'config.json': { eos_token_id: undefined } };
  t.deepEqual((await loadDllm({ manifest: { stopIds: [green, eos] }, json: tokens })).stops, [green, eos]);
  t.deepEqual((await loadDllm({ json: tokens })).stops, [eos]);
  t.deepEqual((await loadDllm({ json: { ...tokens, ...without } })).stops, [blue]);
  const absent = { ...without, 'tokenizer_config.json': { eos_token: null } };
  await fails(t, loadDllm({ json: absent }), 'MODEL_INVALID', 'config.json: eos_token_id', 'stopIds', 'eos_token of');
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
  await fails(t, loadDllm({ json }), 'MODEL_INVALID', 'config.json: max_position_embeddings', 'maxPositions');
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

// What the graph takes and gives. Every one of these is plain in another dress.

const options = { particles: 8, steps: 4, length: 7, minLength: 3 };

for (const [graph, manifest] of [
  ['dllm_other_names', { tensors: { ids: 'ids', logits: 'scores' } }],
  ['dllm_attended', { tensors: { attentionMask: 'mask', positionIds: 'places', timestep: 'time' } }],
  ['dllm_attended_int64', { tensors: { attentionMask: 'mask', positionIds: 'places', timestep: 'time' } }],
  [
    'dllm_attended',
    {
      tensors: { attentionMask: 'mask', positionIds: 'places', timestep: 'time' },
      prefix: [red],
      suffix: [eos, blue],
      maxPositions: 10,
    },
  ],
  ['dllm_shifted', { logitShift: 1, prefix: [green], maxPositions: 9 }],
  ['dllm_shifted', { logitShift: 1, prefix: 'red green blue', suffix: 'red', maxPositions: 12 }],
] as [string, Json][]) {
  test(`${graph} with ${inspect(manifest, { breakLength: Infinity })} gives what plain gives`, async (t) => {
    const wanted = await (await openInverter(t, plain)).invert(image, options);
    const { particles, trace, coupling } = await (await openInverter(t, { graph, manifest })).invert(image, options);
    t.deepEqual(particles, wanted.particles);
    t.deepEqual({ trace, coupling }, { trace: wanted.trace, coupling: wanted.coupling });
  });
}

test('a shifted graph read without its shift gives something else', async (t) => {
  const wanted = await (await openInverter(t, plain)).invert(image, options);
  const unshifted = await openInverter(t, { graph: 'dllm_shifted', manifest: { suffix: [red], maxPositions: 9 } });
  t.notDeepEqual((await unshifted.invert(image, options)).particles, wanted.particles);
});

test('a shift needs a token before the prompt', async (t) => {
  for (const manifest of [{ logitShift: 1 }, { logitShift: 1, prefix: '' }, { logitShift: 1, suffix: [red] }]) {
    await fails(
      t,
      loadDllm({ graph: 'dllm_shifted', manifest }),
      'MODEL_INVALID',
      'fkinv.json',
      'logitShift',
      'prefix',
    );
  }
  t.is((await loadDllm({ manifest: { logitShift: 1, prefix: [red] } })).graph().shift, 1);
});

test('the graph sees the prefix before the prompt and the suffix behind it', async (t) => {
  const manifest = { prefix: [red, unk], suffix: [blue, green], maxPositions: 11 };
  const inverter = await openInverter(t, { graph: 'dllm_around', manifest });
  // Of one step, every token is drawn from the first forward's logits.
  const { particles } = await inverter.invert(image, { ...options, steps: 1, lambdaClip: 0, lambdaEdit: 0 });
  const row = (id: number): number[] => token[id] ?? [];
  const logits = row(mask).map((logit, v) => logit + (row(red)[v] ?? NaN) + (row(green)[v] ?? NaN));
  for (const { tokens, logProb } of particles) {
    const wanted = tokens.reduce((sum, id, n) => sum + logProbability(logits, id, n < options.minLength), 0);
    t.true(Math.abs(logProb - wanted) < 1e-5, `${logProb} should be ${wanted}`);
  }
});

function logProbability(logits: number[], token: number, noStop: boolean): number {
  const allowed = logits.filter((_, id) => id !== mask && id !== unk && (id !== eos || !noStop));
  return (logits[token] ?? NaN) - Math.log(allowed.reduce((total, logit) => total + Math.exp(logit), 0));
}

test('tensors that the graph has not, or has otherwise', async (t) => {
  const refused = (graph: string, tensors: Json, ...named: string[]): Promise<void> =>
    fails(t, loadDllm({ graph, manifest: { tensors } }), 'MODEL_INTERFACE', 'model.onnx', ...named);
  await refused('dllm_plain', { ids: 'ids' }, 'no int64 input "ids" [states, positions]');
  await refused('dllm_plain', { logits: 'scores' }, 'output "scores" [states, positions, vocab]');
  await refused('dllm_plain', { attentionMask: 'mask' }, 'no int64 input "mask" [states, positions]');
  await refused('dllm_plain', { positionIds: 'places' }, 'no int64 input "places" [states, positions]');
  await refused('dllm_plain', { timestep: 'time' }, 'no float32 or int64 input "time" [states]');
  const named = { attentionMask: 'mask', positionIds: 'places' };
  await refused('dllm_attended', named, 'float32 "time" [?] besides input_ids, mask, places', 'fkinv.json');
  await refused('dllm_attended', { ...named, positionIds: 'time' }, 'should have int64 input "time"');
});

test('the condition: of the manifest, else of config.json', async (t) => {
  const condition = { input: 'image_embeds', from: 'clip' };
  const absent = { 'config.json': { condition: undefined } };
  const other = { 'config.json': { condition: { input: 'picture', from: 'clip' } } };
  t.is((await loadDllm()).condition, 'image_embeds');
  t.is((await loadDllm({ manifest: { condition }, json: absent })).condition, 'image_embeds');
  t.is((await loadDllm({ manifest: { condition }, json: other })).graph().condition, 'image_embeds');
  await fails(t, loadDllm({ manifest: { condition: 'none' } }), 'MODEL_INTERFACE', '"image_embeds" [?, 4] besides');
  t.is((await loadDllm({ ...plain, manifest: { condition: 'none' }, json: other })).condition, '');
});

// A vision tower of the dLLM's own, over 4 × 4 pixels from 0 to 1.

const see = JSON.parse(readFileSync(path.join(fixtures, 'see.json'), 'utf8')) as number[][];
type Colour = readonly [number, number, number];
const [onlyRed, onlyGreen, onlyBlue, black, grey] = [
  [255, 0, 0],
  [0, 255, 0],
  [0, 0, 255],
  [0, 0, 0],
  [90, 90, 90],
] as const;

/** A picture whose left and right halves are of one colour each. */
function halves(left: Colour = black, right: Colour = black): RawImage {
  const row = [...left, ...left, ...right, ...right];
  return { data: Uint8Array.from([row, row, row, row].flat()), width: 4, height: 4, channels: 3 };
}

const ofFour = { 'preprocessor_config.json': { size: { height: 4, width: 4 }, do_normalize: false } };
const preprocessor = { 'preprocessor_config.json': 'clip/preprocessor_config.json' };

function withTower(graph: string, tower: string, condition: Json, manifest: Json = {}): Folder {
  return {
    graph,
    files: { ...preprocessor, 'vision/tower.onnx': tower },
    json: ofFour,
    manifest: { condition: { from: 'vision/tower.onnx', ...condition }, ...manifest },
  };
}

const features = { input: 'image_features', output: 'image_features' };
const seeing = (tower = 'graphs/tower_halves.onnx', graph = 'dllm_seeing'): Folder => withTower(graph, tower, features);

/** Logits at a masked position of `seeing`. */
function seen(left: Colour = black, right: Colour = black): number[] {
  const flat = [...left, ...right].map((channel) => Math.fround(channel / 255));
  return (token[mask] ?? []).map((logit, v) => logit + flat.reduce((sum, f, i) => sum + f * (see[i]?.[v] ?? NaN), 0));
}

const ids = { output: 'ids', prefix: { before: [blue], offset: red, after: [green] } };
const told = (condition: Json = ids, manifest: Json = {}, vq = 'graphs/vq_halves.onnx'): Folder =>
  withTower('dllm_told', vq, condition, { prefix: [unk], maxPositions: 13, ...manifest });

/** Logits at a masked position of `told`, where the first five ids of a row are these. */
function toldBy(...start: number[]): number[] {
  const weighted = start.map((id, place) => (token[id] ?? []).map((logit) => 2 ** place * logit));
  return (token[mask] ?? []).map((logit, v) => weighted.reduce((sum, row) => sum + (row[v] ?? NaN), logit));
}

/** What temperature 0 draws where no prompt may end. */
function likeliest(logits: number[]): string {
  const allowed = logits.map((logit, id) => (id === mask || id === unk || id === eos ? -Infinity : logit));
  return words[allowed.indexOf(Math.max(...allowed)) - 3] ?? '';
}

const argmax = { particles: 3, steps: 2, length: 4, minLength: 4, temperature: 0 };
const four = (word: string): string => Array(4).fill(word).join(' ');

const pictures: [left: Colour | undefined, right: Colour | undefined, wanted: string][] = [
  [onlyRed, onlyGreen, 'red'],
  [onlyGreen, onlyRed, 'green'],
  [onlyBlue, onlyBlue, 'blue'],
  [black, onlyGreen, 'dog'],
  [black, onlyBlue, 'tree'],
];

for (const graph of ['dllm_seeing', 'dllm_seeing_open']) {
  test(`${graph}: the features of a tower decide the prompt`, async (t) => {
    const inverter = await openInverter(t, seeing('graphs/tower_halves.onnx', graph));
    for (const [left, right, wanted] of pictures) {
      t.is(likeliest(seen(left, right)), wanted);
      t.is((await inverter.invert(halves(left, right), argmax)).prompt, four(wanted));
    }
    const logits = seen(grey, [10, 20, 30]);
    const steered = { particles: 8, steps: 1, length: 7, minLength: 3, lambdaClip: 0, lambdaEdit: 0 };
    const { particles } = await inverter.invert(halves(grey, [10, 20, 30]), steered);
    for (const { tokens, logProb } of particles) {
      const wanted = tokens.reduce((sum, id, n) => sum + logProbability(logits, id, n < 3), 0);
      t.true(Math.abs(logProb - wanted) < 1e-4, `${logProb} should be ${wanted}`);
    }
  });
}

for (const [what, tower] of [
  ['features', seeing()],
  ['ids', told()],
] as const) {
  test(`a profile has the run of a tower that gives ${what}`, async (t) => {
    const inverter = await openInverter(t, tower);
    const { entries } = await inverter.profile(halves(onlyRed, onlyGreen), argmax);
    t.like(
      entries.find(({ name }) => name === 'dLLM vision'),
      { kind: 'model', calls: 1, bytes: 3 * 4 * 4 * 4 },
    );
  });
}

test('ids of a tower stand before the prompt and decide it', async (t) => {
  const inverter = await openInverter(t, told());
  const prompts = new Set<string>();
  for (const [left, first] of [onlyRed, onlyGreen, onlyBlue].map((colour, i) => [colour, red + i] as const)) {
    for (const [right, second] of [onlyRed, onlyGreen, onlyBlue].map((colour, i) => [colour, red + i] as const)) {
      const logits = toldBy(unk, blue, first, second, green);
      const { prompt } = await inverter.invert(halves(left, right), argmax);
      t.is(prompt, four(likeliest(logits)));
      prompts.add(prompt);
      const { particles } = await inverter.invert(halves(left, right), { ...argmax, temperature: 1, steps: 1 });
      for (const { tokens, logProb } of particles) {
        const wanted = tokens.reduce((sum, id) => sum + logProbability(logits, id, true), 0);
        t.true(Math.abs(logProb - wanted) < 1e-4, `${logProb} should be ${wanted}`);
      }
    }
  }
  t.true(prompts.size >= 3, [...prompts].join());
});

for (const [what, folderOf] of [
  ['features', seeing],
  ['ids', told],
] as const) {
  test(`${what} of several images in flight: each has its own`, async (t) => {
    const inverter = await openInverter(t, folderOf());
    const images = pictures.map(([left, right]) => halves(left, right));
    for (const options of [argmax, { ...argmax, temperature: 1, particles: 8, steps: 3, minLength: 1 }]) {
      const together: unknown[] = [];
      for await (const result of inverter.invertAll(images, { ...options, maxBatch: 128 })) {
        t.false(result instanceof FkinvError);
        if (!(result instanceof FkinvError)) t.is(result.timings.images, pictures.length);
        together.push(withoutTimings(result as Inversion));
      }
      const alone = await Promise.all(images.map((one) => inverter.invert(one, options)));
      t.deepEqual(together, alone.map(withoutTimings));
      t.true(new Set(alone.map(({ prompt }) => prompt)).size > 1);
    }
  });

  test(`${what}: several images as one reference are refused`, async (t) => {
    const inverter = await openInverter(t, folderOf());
    const two = [halves(onlyRed), halves(onlyBlue)];
    await fails(t, inverter.invert(two, argmax), 'INVALID_OPTION', '2 images', 'one reference', 'tower.onnx');
    await t.notThrowsAsync(inverter.invert(two.slice(1), argmax));
    const [refused, good] = await collect(inverter.invertAll([two, halves(onlyRed)], argmax));
    t.is((refused as FkinvError).code, 'INVALID_OPTION');
    t.false(good instanceof FkinvError);
  });

  test(`${what}: an image that cannot be read fails alone`, async (t) => {
    const inverter = await openInverter(t, folderOf());
    const [broken, good] = await collect(inverter.invertAll([Buffer.from('no image'), halves(onlyRed)], argmax));
    t.is((broken as FkinvError).code, 'IMAGE_INVALID');
    t.false(good instanceof FkinvError);
  });

  test(`${what}: a tower needs its graph and its preprocessor`, async (t) => {
    const { files, ...rest } = folderOf();
    const without = { ...rest, json: {}, files: { 'vision/tower.onnx': files?.['vision/tower.onnx'] ?? '' } };
    await fails(t, loadDllm(without), 'MODEL_NOT_FOUND', 'preprocessor_config.json');
    await fails(
      t,
      loadDllm({ ...rest, files: preprocessor }),
      'MODEL_NOT_FOUND',
      'tower.onnx',
      'condition of fkinv.json',
    );
    const json = { 'preprocessor_config.json': { size: 'large' } };
    await fails(t, loadDllm({ ...folderOf(), json }), 'MODEL_INVALID', 'preprocessor_config.json', 'size');
  });
}

async function collect<T>(results: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const result of results) all.push(result);
  return all;
}

function withoutTimings(inversion: Inversion): object {
  return { ...inversion, timings: undefined };
}

test('a tower that is CLIP’s gives what CLIP gives', async (t) => {
  const condition = { input: 'image_embeds', from: 'vision.onnx', output: 'image_embeds' };
  const files = { ...preprocessor, 'vision.onnx': 'clip/vision_model.onnx' };
  const own = await openInverter(t, { files, manifest: { condition } });
  const ofClip = await openInverter(t, {});
  const pair = [halves(onlyRed, grey), image];
  for (const one of pair) {
    t.deepEqual(withoutTimings(await own.invert(one, options)), withoutTimings(await ofClip.invert(one, options)));
  }
});

test('prefix ids take positions, and may be texts', async (t) => {
  t.is((await loadDllm(told())).maxLength, 8);
  t.is((await loadDllm(told({ output: 'ids', prefix: {} }))).maxLength, 10);
  const texts = { output: 'ids', prefix: { before: 'blue', offset: red, after: 'green green' } };
  const { maxLength, ...dllm } = await loadDllm(told(texts, { suffix: [eos], defaults: { length: 6 } }));
  t.is(maxLength, 6);
  t.deepEqual([dllm.prefix, dllm.suffix], [[unk], [eos]]);
  const long = { defaults: { length: 9 } };
  await fails(t, loadDllm(told(ids, long)), 'MODEL_INVALID', 'defaults.length', '8 positions left');
  await fails(t, loadDllm(told(ids, { maxPositions: 5 })), 'MODEL_INVALID', 'prefix, image and suffix take 5 of 5');
  const same = await openInverter(t, told({ ...ids, prefix: { ...ids.prefix, before: 'blue', after: 'green' } }));
  const wanted = await (await openInverter(t, told())).invert(halves(onlyRed, onlyBlue), options);
  t.deepEqual((await same.invert(halves(onlyRed, onlyBlue), options)).particles, wanted.particles);
});

test('a shift may follow an image’s ids', async (t) => {
  const manifest = { prefix: [], logitShift: 1, maxPositions: 9 };
  const condition = { output: 'ids', prefix: { offset: red } };
  const what = withTower('dllm_shifted', 'graphs/vq_halves.onnx', condition, manifest);
  const shifted = await (await openInverter(t, what)).invert(halves(onlyGreen), options);
  const unshifted = await (await openInverter(t, plain)).invert(halves(onlyGreen), options);
  t.deepEqual(shifted.particles, unshifted.particles);
});

test('ids that the dLLM has not: of that image only', async (t) => {
  const beyond = { output: 'ids', prefix: { before: [blue], offset: 10, after: [green] } };
  const named = ['tower.onnx', 'the id 2', 'offset 10', '12 ids'];
  const inverter = await openInverter(t, told(beyond));
  const [good, bad] = await collect(
    inverter.invertAll([halves(onlyGreen, onlyRed), halves(onlyBlue, onlyRed)], argmax),
  );
  t.false(good instanceof FkinvError);
  t.is((bad as FkinvError).code, 'MODEL_INVALID');
  await fails(t, inverter.invert(halves(onlyBlue), argmax), 'MODEL_INVALID', ...named);
  const negative = await openInverter(t, told(ids, {}, 'graphs/vq_negative.onnx'));
  await t.notThrowsAsync(negative.invert(halves(onlyGreen, onlyBlue), argmax));
  await fails(t, negative.invert(halves(onlyRed, onlyBlue), argmax), 'MODEL_INVALID', 'the id -1', 'offset 3');
  for (const prefix of [{ before: [12] }, { after: [12] }, { offset: 12 }]) {
    await fails(t, loadDllm(told({ output: 'ids', prefix })), 'TOKENIZER_MISMATCH', 'token id 12', '12 columns');
  }
});

test('a tower that fails fails the image', async (t) => {
  const inverter = await openInverter(t, told(ids, {}, 'graphs/vq_breaks.onnx'));
  const [good, bad] = await collect(inverter.invertAll([halves(onlyRed), halves(onlyBlue)], argmax));
  t.false(good instanceof FkinvError);
  t.is((bad as FkinvError).code, 'MODEL_RUN');
});

for (const fault of ['nan', 'infinite', 'zero']) {
  test(`features that are ${fault} are blamed on the tower`, async (t) => {
    const condition = { input: 'image_embeds', from: 'vision.onnx', output: 'image_embeds' };
    const files = { ...preprocessor, 'vision.onnx': `graphs/vision_${fault}.onnx` };
    const inverter = await openInverter(t, { files, manifest: { condition } });
    await fails(t, inverter.invert(image, argmax), 'INVALID_EMBEDDING', 'own vision graph');
  });
}

test('features that are zero fail their image alone', async (t) => {
  const inverter = await openInverter(t, seeing());
  const results = await collect(inverter.invertAll([halves(onlyRed), halves(black), halves(onlyBlue)], argmax));
  t.deepEqual(
    results.map((result) => (result instanceof FkinvError ? result.code : result.prompt)),
    [four('red'), 'INVALID_EMBEDDING', four('blue')],
  );
});

test('towers that are made otherwise', async (t) => {
  const refused = (what: Folder, ...named: string[]): Promise<void> =>
    fails(t, loadDllm(what), 'MODEL_INTERFACE', ...named);
  const tower = path.join('vision', 'tower.onnx');
  const noOutput = withTower('dllm_seeing', 'graphs/tower_halves.onnx', { ...features, output: 'pooled' });
  await refused(noOutput, tower, 'no float32 output "pooled"');
  const idsOfFeatures = told({ ...ids, output: 'image_features' }, {}, 'graphs/tower_halves.onnx');
  await refused(idsOfFeatures, tower, 'int64 output "image_features" [images, ids]');
  const featuresOfIds = withTower('dllm_seeing', 'graphs/vq_halves.onnx', { ...features, output: 'ids' });
  await refused(featuresOfIds, tower, 'float32 output "ids"');
  await refused(seeing('graphs/tower_open.onnx'), tower, 'the size of "image_features" [?, ?, ?] open');
  await refused(seeing('graphs/tower_rank_1.onnx'), tower, 'float32 output "image_features" [images, size]');
  await refused(told(ids, {}, 'graphs/vq_open.onnx'), tower, 'the size of "ids" [?, ?] open');
  await refused({ ...seeing(), json: {} }, tower, 'float32 input "pixel_values" [images, 3, 8, 8]');
  const of = (vision: string): Folder => ({
    ...withTower('dllm_seeing', `graphs/vision_${vision}.onnx`, { ...features, output: 'image_embeds' }),
    json: {},
  });
  await refused(of('other_input'), tower, 'no float32 input "pixel_values"');
  await refused(of('float64'), tower, 'float32 input "pixel_values"');
  await refused(of('4_channels'), tower, '[images, 3, 8, 8]');
  await refused(of('batch_of_2'), tower, 'one at a time');
  await refused(of('two_outputs'), 'model.onnx', 'float32 input "image_features" [states, 4]', '[?, 2, 3]');
  const other = withTower('dllm_seeing', 'graphs/tower_halves.onnx', { ...features, input: 'features' });
  await refused(other, 'model.onnx', 'no float32 input "features" [states, 2, 3]');
  const integers = withTower('dllm_plain', 'graphs/tower_halves.onnx', { ...features, input: 'input_ids' });
  await refused(integers, 'model.onnx', 'should have float32 input "input_ids"');
  const blind = withTower('dllm_seeing', 'graphs/vq_halves.onnx', ids);
  await refused(blind, 'model.onnx', '"image_features" [?, 2, 3] besides input_ids');
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

// Files.

/** The engine, and what it is asked to load. */
function watched(): { watching: NativeEngine; loads: [file: string, optimization: number][] } {
  const loads: [string, number][] = [];
  const watching: NativeEngine = {
    device: engine.device,
    load: (file, optimization) => {
      loads.push([file, optimization]);
      return engine.load(file, optimization);
    },
    measureLimits: () => engine.measureLimits(),
    dispose: () => engine.dispose(),
  };
  return { watching, loads };
}

for (const [optimization, level] of [
  [undefined, 99],
  ['disabled', 0],
  ['basic', 1],
  ['extended', 2],
  ['all', 99],
] as const) {
  test(`optimization ${optimization ?? 'not given'} is ONNX Runtime’s level ${level}`, async (t) => {
    const manifest = { optimization };
    const { watching, loads } = watched();
    const sees = seeing();
    const at = {
      dllm: await folder('dllm', { ...sees, manifest: { ...(sees.manifest as Json), ...manifest } }),
      clip: await folder('clip', { manifest }),
    };
    await Dllm.load(watching, new ModelFolder(at.dllm), clip);
    await Clip.load(watching, new ModelFolder(at.clip));
    t.deepEqual(loads, [
      [path.join(at.dllm, 'model.onnx'), level],
      [path.join(at.dllm, 'vision', 'tower.onnx'), level],
      [path.join(at.clip, 'vision_model.onnx'), level],
      [path.join(at.clip, 'text_model.onnx'), level],
    ]);
  });
}

async function move(from: string, to: string): Promise<void> {
  await mkdir(path.dirname(to), { recursive: true });
  await rename(from, to);
}

test('the dLLM’s graph: in the folder, else in its onnx/, or where the manifest says', async (t) => {
  const load = async (at: string): Promise<string> => {
    const { watching, loads } = watched();
    await Dllm.load(watching, new ModelFolder(at), clip);
    return path.relative(at, loads[0]?.[0] ?? '');
  };
  const at = await folder('dllm');
  await move(path.join(at, 'model.onnx'), path.join(at, 'onnx', 'model.onnx'));
  t.is(await load(at), path.join('onnx', 'model.onnx'));
  await cp(path.join(at, 'onnx', 'model.onnx'), path.join(at, 'model.onnx'));
  t.is(await load(at), 'model.onnx');
  await move(path.join(at, 'model.onnx'), path.join(at, 'weights', 'model_fp16.onnx'));
  await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ graph: 'weights/model_fp16.onnx' }));
  t.is(await load(at), path.join('weights', 'model_fp16.onnx'));
  await rm(path.join(at, 'weights'), { recursive: true }); // that of onnx/ does not stand in
  await fails(t, load(at), 'MODEL_NOT_FOUND', path.join(at, 'weights', 'model_fp16.onnx'));
  await rm(path.join(at, 'fkinv.json'));
  await rm(path.join(at, 'onnx'), { recursive: true });
  await fails(t, load(at), 'MODEL_NOT_FOUND', path.join(at, 'model.onnx'), path.join(at, 'onnx', 'model.onnx'));
});

for (const kind of ['dllm', 'clip'] as const) {
  test(`${kind}: files are held to their SHA-256`, async (t) => {
    const at = await folder(kind);
    const graph = kind === 'dllm' ? 'model.onnx' : 'text_model.onnx';
    const sha256 = async (file: string): Promise<string> =>
      createHash('sha256')
        .update(await readFile(path.join(at, file)))
        .digest('hex');
    const files = { 'config.json': await sha256('config.json'), [graph]: await sha256(graph) };
    await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ files }));
    const load = (): Promise<unknown> =>
      kind === 'dllm' ? Dllm.load(engine, new ModelFolder(at), clip) : Clip.load(engine, new ModelFolder(at));
    await t.notThrowsAsync(load());

    const whole = await readFile(path.join(at, graph));
    const altered = Buffer.from(whole);
    altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
    await writeFile(path.join(at, graph), altered);
    await fails(t, load(), 'MODEL_INVALID', path.join(at, graph), await sha256(graph), files[graph] ?? '');
    await writeFile(path.join(at, graph), whole);
    await t.notThrowsAsync(load());

    await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ files: { 'model.onnx_data': '0'.repeat(64) } }));
    await fails(t, load(), 'MODEL_NOT_FOUND', path.join(at, 'model.onnx_data'));
  });
}

// CLIP.

test('a CLIP folder as Hugging Face’s exports are loads without a manifest, and gives the same embeddings', async (t) => {
  const flat = path.join(packageRoot, 'models', 'clip');
  const at = path.join(root, 'hugging-face');
  await cp(flat, at, { recursive: true });
  for (const tower of ['vision', 'text']) {
    await move(path.join(at, `${tower}_model.onnx`), path.join(at, 'onnx', `${tower}_model.onnx`));
  }
  // As OpenAI's: padded with the end token.
  const config = path.join(at, 'tokenizer_config.json');
  const fields = JSON.parse(await readFile(config, 'utf8')) as Json;
  await writeFile(config, JSON.stringify({ ...fields, pad_token: '<eos>' }));
  const embed = async (from: string): Promise<object> => {
    const one = await Clip.load(engine, new ModelFolder(from));
    const { ids, widths } = one.tokenize(['a flat icon of a cat', 'two bells']);
    const [width = 0] = widths;
    const input = { name: 'input_ids', data: ids.slice(0, width), rowShape: [width] };
    const text = await one.text.session.run(1, [input], 'text_embeds', [one.embedSize]);
    const picture = await one.encodeImage(await preparedFor(one, path.join(packageRoot, 'examples', 'bells.png')));
    return { ids, widths, text: await text.read(), picture: await picture.read() };
  };
  t.deepEqual(await embed(at), await embed(flat));
});

test('a CLIP’s graphs: where the manifest says', async (t) => {
  const at = await folder('clip', { manifest: { graphs: { vision: 'fp16/vision.onnx' } } });
  await move(path.join(at, 'vision_model.onnx'), path.join(at, 'fp16', 'vision.onnx'));
  await move(path.join(at, 'text_model.onnx'), path.join(at, 'onnx', 'text_model.onnx'));
  const { watching, loads } = watched();
  await Clip.load(watching, new ModelFolder(at));
  const files = loads.map(([file]) => path.relative(at, file));
  t.deepEqual(files, [path.join('fp16', 'vision.onnx'), path.join('onnx', 'text_model.onnx')]);
});

test('a CLIP folder with one graph of both towers', async (t) => {
  const at = await folder('clip');
  await move(path.join(at, 'vision_model.onnx'), path.join(at, 'onnx', 'model.onnx'));
  await rm(path.join(at, 'text_model.onnx'));
  const load = Clip.load(engine, new ModelFolder(at));
  const files = ['vision_model.onnx', 'text_model.onnx', 'model.onnx of both towers', path.join(at, 'onnx')];
  await fails(t, load, 'MODEL_NOT_FOUND', ...files);
});

test('a text tower with an attention mask, and towers with further outputs', async (t) => {
  const at = await folder('clip');
  const replace = (graph: string, name: string): Promise<void> =>
    cp(path.join(fixtures, 'graphs', `${graph}.onnx`), path.join(at, name));
  const invert = async (): Promise<object> => {
    const inverter = await Inverter.load({ dllm: await folder('dllm'), clip: at });
    t.teardown(() => inverter.dispose());
    const { particles, trace } = await inverter.invert(image, { ...options, minLength: 1 });
    t.true(new Set(particles.map(({ prompt }) => prompt.split(' ').length)).size > 1, 'texts of several widths');
    return { particles, trace };
  };
  const wanted = await invert();
  await replace('text_attended', 'text_model.onnx');
  await replace('vision_two_outputs', 'vision_model.onnx');
  t.is((await Clip.load(engine, new ModelFolder(at))).textGraph().attentionMask, 'attention_mask');
  t.is(clip.textGraph().attentionMask, '');
  t.deepEqual(await invert(), wanted);
});

test('CLIP’s limit on a text is the smaller of config.json’s and the tokenizer’s', async (t) => {
  for (const [positions, longest, limit] of [
    [7, 9, 7],
    [9, 7, 7],
    [undefined, 7, 7],
    [7, undefined, 7],
    [7, 1e30, 7],
  ] as const) {
    const at = await folder('clip', {
      json: {
        'config.json': { text_config: { max_position_embeddings: positions } },
        'tokenizer_config.json': { model_max_length: longest, pad_token: undefined },
      },
    });
    t.is((await Clip.load(engine, new ModelFolder(at))).maxWidth, limit);
  }
});

// docs/manifest.md.

const document = readFileSync(path.join(packageRoot, 'docs', 'manifest.md'), 'utf8');

test('docs/manifest.md: its manifests are valid', (t) => {
  const examples = [...document.matchAll(/```json\n(.*?)```/gs)].map(([, json = '']) => JSON.parse(json) as Json);
  t.is(examples.length, 7, 'the last two are cases of parity: test/cli/models-command.test.ts runs them');
  const [llada, dream, lladaV, mmada, ofClip] = examples;
  t.like(dllmManifest.parse(llada), { maskId: undefined, logitShift: 0, stopIds: [126081, 126348] });
  t.like(dllmManifest.parse(dream), { logitShift: 1, tensors: { positionIds: 'position_ids' } });
  t.like(dllmManifest.parse(lladaV), { condition: { input: 'image_features', from: 'onnx/vision_tower.onnx' } });
  t.like(dllmManifest.parse(mmada), { condition: { prefix: { before: [126089, 126084], offset: 126349 } } });
  t.notThrows(() => clipManifest.parse(ofClip));
});

test('docs/manifest.md: its tables have every key', (t) => {
  const keys = [...document.matchAll(/^\| `([\w.]+)`/gm)].map(([, key]) => key).sort();
  const fields = (schema: { shape: object }): string[] => Object.keys(schema.shape);
  const tensors = ['ids', 'attentionMask', 'positionIds', 'timestep', 'logits'].map((name) => `tensors.${name}`);
  const entry = ['from', 'output', 'input', 'prefix.before', 'prefix.offset', 'prefix.after'];
  const nested = [...tensors, ...entry.map((name) => `condition.${name}`)];
  const ofDllm = fields(dllmManifest).filter((key) => key !== 'tensors');
  const ofClip = ['graphs.vision', 'graphs.text'];
  t.deepEqual(keys, [...ofDllm, ...nested, ...ofClip].sort());
});

test('the tables are those of the graphs', (t) => {
  t.is(token.length, 3 + words.length);
  t.deepEqual([words[red - 3], words[green - 3], words[blue - 3]], ['red', 'green', 'blue']);
});
