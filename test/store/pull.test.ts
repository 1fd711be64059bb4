// Models pulled from a server that speaks the Hub's protocol: what is fetched, where it lies, and that it can be loaded.
import { createHash, randomBytes } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { FkinvError } from '../../lib/errors';
import { Inverter } from '../../lib/inverter';
import type { PullProgress } from '../../lib/store/progress';
import type { PullPlan } from '../../lib/store/pull';
import { contentsOf, fixtures, openStore } from '../helpers/store';
import { float32, node, onnxFile, type Value } from '../onnx/builder';

const clip = path.join(fixtures, 'clip');
const dllm = path.join(fixtures, 'dllm');

/** A graph whose weights are at `location`. */
function externalGraph(location: string, data: Uint8Array): Uint8Array {
  const weights = { ...float32([data.length / 4], []), data, location };
  return onnxFile({
    nodes: [node('Add', 'x w', 'y')],
    inputs: [{ name: 'x', type: 'float32', dims: ['n', data.length / 4] }],
    output: { name: 'y', type: 'float32', dims: ['n', data.length / 4] },
    constants: { w: weights },
  });
}

/** A graph that has these numbers in it. */
function graphOf(values: number[]): Uint8Array {
  const output: Value = { name: 'y', type: 'float32', dims: [values.length] };
  return onnxFile({ nodes: [], inputs: [], output, constants: { y: float32([values.length], values) } });
}

test("a pulled pair lies in the cache as Python's library has it, and loads", async (t) => {
  const { hub, pull, at } = await openStore(t, {
    'org/clip': { folder: clip, licence: 'mit' },
    'org/dllm': { folder: dllm },
  });
  const pulled = { clip: await pull('hf:org/clip'), dllm: await pull('hf:org/dllm') };
  const commit = hub.commitOf('org/clip');
  const root = at('models--org--clip');
  const snapshot = path.join(root, 'snapshots', commit);
  t.deepEqual(pulled.clip, {
    folder: snapshot,
    repository: 'org/clip',
    commit,
    variant: 'fp32',
    licence: 'mit',
    bytes: 2943,
  });
  t.is(await readFile(path.join(root, 'refs', 'main'), 'utf8'), commit);
  t.deepEqual(await contentsOf(snapshot), await contentsOf(clip));
  const graph = await readFile(path.join(clip, 'text_model.onnx'));
  const sha256 = createHash('sha256').update(graph).digest('hex');
  t.is(await readlink(path.join(snapshot, 'text_model.onnx')), path.join('..', '..', 'blobs', sha256));
  const config = await readFile(path.join(clip, 'config.json'));
  const oid = createHash('sha1').update(`blob ${config.length}\0`).update(config).digest('hex');
  t.is(await readlink(path.join(snapshot, 'config.json')), path.join('..', '..', 'blobs', oid));
  t.deepEqual(
    (await readdir(path.join(root, 'blobs'))).filter((name) => !/^[0-9a-f]{40,64}$/.test(name)),
    [],
  );
  const inverter = await Inverter.load({ clip: pulled.clip.folder, dllm: pulled.dllm.folder, device: 'cpu' });
  await inverter.dispose();
});

test('what is there is not fetched again, and other commits share it', async (t) => {
  const { hub, pull, at } = await openStore(t, { 'org/clip': { folder: clip } });
  const first = await pull('hf:org/clip');
  const asked = hub.requests.length;
  t.deepEqual(await pull('hf:org/clip@main'), first);
  t.is(hub.requests.slice(asked).filter(({ path: name }) => name.includes('/resolve/')).length, 0);
  hub.add('org/clip', { folder: clip, files: { 'config.json': '{ "projection_dim": 3 }' } });
  const before = hub.requests.length;
  const second = await pull('hf:org/clip');
  t.not(second.commit, first.commit);
  const fetched = hub.requests.slice(before).filter(({ path: name }) => name.includes('/resolve/'));
  t.deepEqual(
    fetched.map(({ path: name }) => path.basename(name)),
    ['config.json'],
  );
  t.is((await readdir(at('models--org--clip', 'snapshots'))).length, 2);
  t.is(await readFile(at('models--org--clip', 'refs', 'main'), 'utf8'), second.commit);
});

const sizes = { fp32: 400, q8: 100, fp16: 200 };
const suffixes = { fp32: '', q8: '_quantized', fp16: '_fp16' };
const variantFiles = Object.fromEntries(
  Object.entries(sizes).flatMap(([variant, size]) =>
    ['vision', 'text'].map((tower) => [
      `onnx/${tower}_model${suffixes[variant as keyof typeof sizes]}.onnx`,
      onnxFile({
        nodes: [],
        inputs: [],
        output: { name: tower, type: 'float32', dims: [size] },
        constants: {
          [tower]: float32(
            [size],
            Array.from({ length: size }, (_, i) => i),
          ),
        },
      }),
    ]),
  ),
);
const withVariants = {
  files: {
    ...variantFiles,
    'config.json': '{}',
    'preprocessor_config.json': '{}',
    'tokenizer.json': '{}',
    'README.md': '---\nlicense: mit\n---\n',
    LICENSE: 'MIT',
    'model.safetensors': 'weights of PyTorch',
    'onnx/model.onnx': 'both towers',
    'picture.png': 'a picture',
    'notes/config.json': '{}',
  },
};
const common = ['LICENSE', 'README.md', 'config.json', 'preprocessor_config.json', 'tokenizer.json'];

test('only what a variant needs is fetched: the one that is asked for, else the one that the device runs best', async (t) => {
  const { pull } = await openStore(t, { 'org/clip': withVariants });
  const names = async ({ folder }: { folder: string }): Promise<string[]> =>
    Object.keys(await contentsOf(folder)).sort();
  t.deepEqual(await names(await pull('hf:org/clip:q8')), [
    ...common.slice(0, 3),
    path.join('onnx', 'text_model_quantized.onnx'),
    path.join('onnx', 'vision_model_quantized.onnx'),
    ...common.slice(3),
  ]);
  t.is((await pull('hf:org/clip')).variant, 'fp32');
  const plans: PullPlan[] = [];
  await t.throwsAsync(
    pull('hf:org/clip', {
      device: 'cuda:0',
      confirm: (plan) => {
        plans.push(plan);
        return Promise.resolve(false);
      },
    }),
    { code: 'ABORTED', message: 'hf:org/clip was not fetched' },
  );
  const [plan] = plans;
  if (plan === undefined) throw new RangeError('no plan');
  t.is(plan.variant, 'fp16');
  t.deepEqual(plan.variants, ['fp16', 'fp32', 'q8']);
  const graphs = ['onnx/vision_model_fp16.onnx', 'onnx/text_model_fp16.onnx'].map(
    (name) => variantFiles[name]?.length ?? 0,
  );
  t.is(
    plan.missingBytes,
    graphs.reduce((sum, bytes) => sum + bytes),
  );
  t.is(plan.memoryBytes, plan.missingBytes);
  t.true(plan.freeBytes > 0 && plan.usableMemoryBytes > 0);
});

test('external data is what the graph names, whatever it is called', async (t) => {
  const data = randomBytes(4096);
  const uuid = '0f8fad5b-d9cb-469f-a165-70867728950e';
  const { hub, pull } = await openStore(t, {
    'org/openclip': {
      files: {
        'config.json': '{}',
        'visual/model.onnx': externalGraph(uuid, data),
        [`visual/${uuid}`]: data,
        'visual/model.armnn': randomBytes(64),
        'visual/preprocess_cfg.json': '{}',
        'textual/model.onnx': externalGraph('weights.bin', data),
        'textual/weights.bin': data,
        'textual/tokenizer.json': '{}',
      },
    },
  });
  const { folder } = await pull('hf:org/openclip');
  t.deepEqual(Object.keys(await contentsOf(folder)).sort(), [
    'config.json',
    path.join('textual', 'model.onnx'),
    path.join('textual', 'tokenizer.json'),
    path.join('textual', 'weights.bin'),
    path.join('visual', uuid),
    path.join('visual', 'model.onnx'),
    path.join('visual', 'preprocess_cfg.json'),
  ]);
  t.deepEqual(await readFile(path.join(folder, 'visual', uuid)), data);
  t.true((await lstat(path.join(folder, 'visual', uuid))).isSymbolicLink());
  t.is(hub.requests.filter(({ at }) => at === 'files').length, 3); // both data files are one blob
});

test('progress tells of every file, up to all of its bytes and of all', async (t) => {
  const { pull } = await openStore(t, { 'org/clip': { folder: clip } });
  const told: PullProgress[] = [];
  await pull('hf:org/clip', { onProgress: (progress) => told.push({ ...progress }) });
  t.like(told.at(-1), { bytes: 2943, size: 2943 });
  const whole = told.filter(({ fileBytes, fileSize }) => fileBytes === fileSize).map(({ file }) => file);
  t.deepEqual([...new Set(whole)].sort(), (await readdir(clip)).sort());
});

test('an aborted pull keeps what is there of a file, which the next one goes on with', async (t) => {
  const content = Buffer.from(graphOf(Array.from({ length: 75_000 }, (_, i) => i)));
  const { hub, pull, at } = await openStore(t, { 'org/dllm': { folder: dllm, files: { 'model.onnx': content } } });
  const controller = new AbortController();
  const onProgress = ({ file, fileBytes }: PullProgress): void => {
    if (file === 'model.onnx' && fileBytes > 100_000) controller.abort(new Error('enough'));
  };
  hub.fault = () => ({ slow: 5 });
  const error = await t.throwsAsync(pull('hf:org/dllm', { signal: controller.signal, onProgress }), {
    instanceOf: FkinvError,
    code: 'ABORTED',
  });
  t.is((error.cause as Error).message, 'enough');
  hub.fault = () => undefined;
  t.false((await readdir(at('models--org--dllm'))).includes('snapshots'));
  const [partial = ''] = (await readdir(at('models--org--dllm', 'blobs'))).filter((name) =>
    name.endsWith('.incomplete'),
  );
  t.is(partial, `${createHash('sha256').update(content).digest('hex')}.fkinv.incomplete`);
  const kept = (await readFile(at('models--org--dllm', 'blobs', partial))).length;
  const before = hub.requests.length;
  const { folder } = await pull('hf:org/dllm');
  t.deepEqual(await readFile(path.join(folder, 'model.onnx')), content);
  const [range] = hub.requests.slice(before).flatMap((request) => request.range ?? []);
  t.is(range, `bytes=${kept}-`);
});
