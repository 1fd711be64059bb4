// A dLLM says which CLIP it was trained with, and is held to it.
import { cp, mkdtemp, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { FkinvError } from '../../lib/errors';
import { Inverter } from '../../lib/inverter';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { ModelFolder } from '../../lib/models/model-folder';
import { embedTexts } from '../../lib/models/text-embeddings';
import { clip, engine, fails, fixtures, folder, root, setUp, type Json } from '../helpers/manifest-folders';
import { root as packageRoot } from '../helpers/models-demo';
import { float32, int64, node, onnxFile } from '../onnx/builder';

setUp();

const text = 'red cat with tree';
const condition = (embedding: unknown, more: Json = {}): Json => ({
  condition: { input: 'image_embeds', from: 'clip', clip: { name: 'org/the-clip', text, embedding, ...more } },
});

/** Numbers of any length whose cosine with CLIP's embedding of the text is `cosine`. */
async function at(cosine: number): Promise<number[]> {
  const own = await embedTexts(clip, [text]);
  const product = own[0] ?? NaN;
  const aside = own.map((x, i) => (i === 0 ? 1 : 0) - product * x); // at a right angle to it
  const length = Math.sqrt(1 - product * product);
  return Array.from(own, (x, i) => 7 * (cosine * x + (Math.sqrt(1 - cosine ** 2) * (aside[i] ?? NaN)) / length));
}

/** A dLLM of such a manifest loads beside `beside`. */
async function load(manifest: Json, beside = clip, files: Record<string, string> = {}): Promise<Dllm> {
  const dllm = await folder('dllm', { manifest });
  for (const [name, content] of Object.entries(files)) await writeFile(path.join(dllm, name), content);
  return Dllm.load(engine, new ModelFolder(dllm), beside);
}

async function loadClip(from: string): Promise<Clip> {
  return Clip.load(engine, new ModelFolder(from, { warn: () => undefined }));
}

/** A CLIP of the same shape as the one in `from`: its tokens have one another's embeddings. */
async function another(from: string): Promise<string> {
  const to = await mkdtemp(path.join(root, 'another-'));
  await cp(from, to, { recursive: true });
  const file = path.join(to, 'tokenizer.json');
  const json = JSON.parse(await readFile(file, 'utf8')) as { model: { vocab: Record<string, number> } };
  const { vocab } = json.model;
  const first = 4; // the special tokens stay
  const count = Object.keys(vocab).length - first;
  for (const [token, id] of Object.entries(vocab)) if (id >= first) vocab[token] = first + ((id - first + 1) % count);
  await writeFile(file, JSON.stringify(json));
  return to;
}

test('the CLIP that a dLLM was trained with is taken, as a list or from a file', async (t) => {
  await t.notThrowsAsync(load(condition(await at(1))));
  await t.notThrowsAsync(load(condition(await at(0.991))));
  await t.notThrowsAsync(load(condition('probe.json'), clip, { 'probe.json': JSON.stringify(await at(1)) }));
});

test('another of the same shape is refused, in one line that says what to do', async (t) => {
  const manifest = condition(await at(1));
  const error = await t.throwsAsync(load(manifest, await loadClip(await another(path.join(fixtures, 'clip')))), {
    instanceOf: FkinvError,
    code: 'PAIR_MISMATCH',
  });
  for (const part of [
    'org/the-clip',
    'text_model.onnx',
    'cosine',
    'a dLLM without an image condition, which fits any CLIP',
  ]) {
    t.true(error.message.includes(part), error.message);
  }
  t.false(error.message.includes('\n'));
});

test('a probe of another size, without a direction, or unreadable', async (t) => {
  await fails(
    t,
    load(condition([...(await at(1)), 0])),
    'PAIR_MISMATCH',
    'has embeddings of 4 numbers, not of 5',
    'org/the-clip',
  );
  await fails(t, load(condition([0, 0, 0, 0])), 'MODEL_INVALID', 'fkinv.json', 'condition.clip.embedding is zero');
  await fails(t, load(condition('none.json')), 'MODEL_NOT_FOUND', 'none.json');
  await fails(t, load(condition('probe.json'), clip, { 'probe.json': '{}' }), 'MODEL_INVALID', 'probe.json');
  await fails(t, load(condition('../probe.json')), 'MODEL_INVALID', 'condition');
  await fails(t, load(condition([])), 'MODEL_INVALID', 'condition');
  await fails(t, load(condition([1, 2, 3, 4], { name: '' })), 'MODEL_INVALID', 'condition');
});

test('rounded weights may be a little off, others may not', async (t) => {
  const near = condition(await at(0.97));
  const far = condition(await at(0.94));
  await fails(t, load(near), 'PAIR_MISMATCH', 'cosine 0.970');

  const byName = path.join(root, 'clip-by-name');
  await cp(path.join(fixtures, 'clip'), byName, { recursive: true });
  await rename(path.join(byName, 'text_model.onnx'), path.join(byName, 'text_model_quantized.onnx'));
  const named = await loadClip(byName);
  await t.notThrowsAsync(load(near, named));
  await fails(t, load(far, named), 'PAIR_MISMATCH', 'cosine 0.940');

  // The same numbers under the usual name, out of 8 bits.
  const byOperators = path.join(root, 'clip-by-operators');
  await cp(path.join(fixtures, 'clip'), byOperators, { recursive: true });
  const { text: table } = JSON.parse(await readFile(path.join(fixtures, 'weights.json'), 'utf8')) as {
    text: number[][];
  };
  const graph = onnxFile({
    nodes: [
      node('QuantizeLinear', 'raised scale', 'bytes'),
      node('DequantizeLinear', 'bytes scale', 'numbers'),
      node('Sub', 'numbers two', 'text'),
      node('Gather', 'text input_ids', 'each'),
      node('ReduceSum', 'each one', 'text_embeds', { keepdims: 0 }),
    ],
    inputs: [{ name: 'input_ids', type: 'int64', dims: ['texts', 'width'] }],
    output: { name: 'text_embeds', type: 'float32', dims: ['texts', 4] },
    constants: {
      raised: float32(
        [table.length, 4],
        table.flat().map((x) => x + 2),
      ),
      scale: float32([], [1]),
      two: float32([], [2]),
      one: int64([1], [1]),
    },
  });
  await writeFile(path.join(byOperators, 'text_model.onnx'), graph);
  const quantized = await loadClip(byOperators);
  t.deepEqual(await embedTexts(quantized, [text]), await embedTexts(clip, [text]));
  await t.notThrowsAsync(load(near, quantized));
  await fails(t, load(far, quantized), 'PAIR_MISMATCH');
});

test('the embedded dLLM takes the embedded CLIP, and no other of its shape', async (t) => {
  const other = await another(path.join(packageRoot, 'models', 'clip'));
  await fails(t, Inverter.load({ clip: other }), 'PAIR_MISMATCH', 'the embedded CLIP');
  // A dLLM that sees no image fits any.
  const dllm = await folder('dllm', { graph: 'dllm_plain' });
  await using inverter = await Inverter.load({ clip: other, dllm });
  t.is(inverter.device, 'cpu');
});
