// A vision tower of the dLLM’s own, over 4 × 4 pixels from 0 to 1.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { FkinvError } from '../../lib/errors';
import type { RawImage } from '../../lib/images/image';
import type { Inversion } from '../../lib/inversion';
import {
  type Folder,
  type Json,
  blue,
  collect,
  eos,
  fails,
  features,
  fixtures,
  green,
  image,
  loadDllm,
  logProbability,
  mask,
  openInverter,
  options,
  plain,
  preprocessor,
  red,
  seeing,
  setUp,
  token,
  unk,
  withTower,
  words,
} from '../helpers/manifest-folders';

// docs/manifest.md says what is tested here.

setUp();

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
  await refused(noOutput, tower, 'no float32 or float16 output "pooled"');
  const idsOfFeatures = told({ ...ids, output: 'image_features' }, {}, 'graphs/tower_halves.onnx');
  await refused(idsOfFeatures, tower, 'int64 output "image_features" [images, ids]');
  const featuresOfIds = withTower('dllm_seeing', 'graphs/vq_halves.onnx', { ...features, output: 'ids' });
  await refused(featuresOfIds, tower, 'float32 or float16 output "ids"');
  await refused(seeing('graphs/tower_open.onnx'), tower, 'the size of "image_features" [?, ?, ?] open');
  await refused(seeing('graphs/tower_rank_1.onnx'), tower, 'float32 or float16 output "image_features" [images, size]');
  await refused(told(ids, {}, 'graphs/vq_open.onnx'), tower, 'the size of "ids" [?, ?] open');
  await refused({ ...seeing(), json: {} }, tower, 'float32 or float16 input "pixel_values" [images, 3, 8, 8]');
  const of = (vision: string): Folder => ({
    ...withTower('dllm_seeing', `graphs/vision_${vision}.onnx`, { ...features, output: 'image_embeds' }),
    json: {},
  });
  await refused(of('other_input'), tower, 'no float32 or float16 input "pixel_values"');
  await refused(of('float64'), tower, 'float32 or float16 input "pixel_values"');
  await refused(of('4_channels'), tower, '[images, 3, 8, 8]');
  await refused(of('batch_of_2'), tower, 'one at a time');
  await refused(of('two_outputs'), 'model.onnx', 'float32 or float16 input "image_features" [states, 4]', '[?, 2, 3]');
  const other = withTower('dllm_seeing', 'graphs/tower_halves.onnx', { ...features, input: 'features' });
  await refused(other, 'model.onnx', 'no float32 or float16 input "features" [states, 2, 3]');
  const integers = withTower('dllm_plain', 'graphs/tower_halves.onnx', { ...features, input: 'input_ids' });
  await refused(integers, 'model.onnx', 'should have float32 or float16 input "input_ids"');
  const blind = withTower('dllm_seeing', 'graphs/vq_halves.onnx', ids);
  await refused(blind, 'model.onnx', '"image_features" [?, 2, 3] besides input_ids');
});
