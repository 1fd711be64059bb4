// The plan of an inversion's memory is what its particles then hold.
import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { FkinvError } from '../../lib/errors';
import type { MemoryReport } from '../../lib/examine/memory';
import { planMemory } from '../../lib/sampling/memory-plan';
import { ModelFolder } from '../../lib/models/model-folder';
import { native } from '../../lib/native/addon';
import type { InvertOptions } from '../../lib/options';
import { resolveOptions } from '../../lib/sampling/resolved-options';
import { particleOptions } from '../../lib/sampling/sampler';
import type { Models } from '../../lib/models/replicas';
import { cpuEngine } from '../helpers/cpu-engine';
import { blocksUnder } from '../helpers/documents';
import { bells, fkinv, root } from '../helpers/fkinv';
import { preparedFor } from '../helpers/models-demo';
import { node, onnxFile } from '../onnx/builder';
import { attentive, type Layout } from '../onnx/attentive';
import { lladaVocab, wideF16 } from '../onnx/models';

const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
const embedded = (kind: 'clip' | 'dllm'): string => path.join(root, 'models', kind);

let workspace: string;
test.before(async () => (workspace = await mkdtemp(path.join(tmpdir(), 'fkinv-memory-'))));
test.after.always(() => rm(workspace, { recursive: true }));

/** The fixtures' dLLM, with another graph and a manifest. */
async function fixture(name: string, graph: string, manifest: object, tower?: string): Promise<string> {
  const at = path.join(workspace, name);
  await cp(path.join(fixtures, 'dllm'), at, { recursive: true });
  await cp(path.join(fixtures, 'graphs', `${graph}.onnx`), path.join(at, 'model.onnx'));
  const config = path.join(at, 'config.json');
  const fields = JSON.parse(await readFile(config, 'utf8')) as object;
  await writeFile(config, JSON.stringify({ ...fields, condition: undefined }));
  await writeFile(path.join(at, 'fkinv.json'), JSON.stringify(manifest));
  if (tower === undefined) return at;
  const preprocessing = 'preprocessor_config.json';
  const preprocessor = JSON.parse(await readFile(path.join(fixtures, 'clip', preprocessing), 'utf8')) as object;
  await writeFile(path.join(at, preprocessing), JSON.stringify({ ...preprocessor, size: { height: 4, width: 4 } }));
  await cp(path.join(fixtures, 'graphs', `${tower}.onnx`), path.join(at, 'vision', 'tower.onnx'));
  return at;
}

async function load(t: ExecutionContext, folders: { dllm: string; clip: string }): Promise<Models> {
  const engine = cpuEngine(2);
  t.teardown(() => engine.dispose());
  const clip = await Clip.load(engine, new ModelFolder(folders.clip));
  return { engine, clip, dllm: await Dllm.load(engine, new ModelFolder(folders.dllm), clip) };
}

/** Bytes that the particles of `images` images hold after their first steps. */
async function held({ engine, dllm, clip }: Models, options: InvertOptions, images: number): Promise<number> {
  const resolved = resolveOptions(options, dllm);
  const embeds = await clip.encodeImage(await preparedFor(clip, bells));
  const condition = await dllm.encodeImage(dllm.tower && (await preparedFor(dllm.tower, bells)));
  const all = <T>(value: T): T[] => new Array<T>(images).fill(value);
  const { prefix } = dllm.around(resolved, [], condition);
  const prefixes = all(prefix).flat();
  const given = particleOptions(dllm, resolved, { prefixes, seeds: all(1n) });
  const graphs = [dllm.graph(), clip.textGraph()] as const;
  const conditions = condition.features === undefined ? [] : all(condition.features);
  const particles = await native.createParticles(engine, ...graphs, all([embeds]), clip.embedSize, given, conditions);
  const before = await particles.bytes();
  await particles.denoise();
  await particles.guess(0);
  const after = await particles.bytes();
  particles.release();
  if (before !== after) throw new RangeError(`held ${before} bytes, and then ${after}`);
  return after;
}

const shapes: [images: number, options: InvertOptions][] = [
  [1, {}],
  [3, { particles: 1, length: 1 }],
  [2, { particles: 5, length: 7, guesses: 3, steps: 2 }],
  [1, { particles: 2, template: 'a photo of [2], red', banned: [3, 4, 5] }],
];

test('the embedded models', async (t) => {
  const models = await load(t, { dllm: embedded('dllm'), clip: embedded('clip') });
  for (const [images, options] of shapes) {
    const plan = planMemory(models, resolveOptions(options, models.dllm), images);
    t.is(plan.total, await held(models, options, images), JSON.stringify(options));
    t.is(plan.total, plan.logits + plan.tiles + plan.rows + plan.texts + plan.particles);
  }
});

for (const [name, make] of [
  ['16-bit logits of 50257 columns', wideF16],
  ['16-bit logits of 126464 columns', lladaVocab],
] as const) {
  test(name, async (t) => {
    const folder = path.join(workspace, name);
    await make(folder);
    const models = await load(t, { dllm: folder, clip: embedded('clip') });
    const options = { particles: 2, length: 5, guesses: 2 };
    const plan = planMemory(models, resolveOptions(options, models.dllm), 2);
    t.is(plan.total, await held(models, options, 2));
    t.true(plan.logits > 4 * 5 * models.dllm.vocab * 2); // two bytes each
    t.true(plan.logits < 4 * 5 * models.dllm.vocab * 3);
  });
}

const tensors = { attentionMask: 'mask', positionIds: 'places', timestep: 'time' };
const features = { input: 'image_features', output: 'image_features', from: 'vision/tower.onnx' };
const ids = { output: 'ids', from: 'vision/tower.onnx', prefix: { before: [5], offset: 3, after: [4] } };
const forms: [name: string, graph: string, manifest: object, tower?: string][] = [
  ['an attention mask, positions and a time', 'dllm_attended', { tensors }],
  ['a time of int64', 'dllm_attended_int64', { tensors }],
  ['ids around the prompt', 'dllm_around', { prefix: [3, 2], suffix: [5, 4, 4], maxPositions: 12 }],
  ['image features', 'dllm_seeing', { condition: features }, 'tower_halves'],
  ['image ids', 'dllm_told', { condition: ids, prefix: [2], maxPositions: 13 }, 'vq_halves'],
];
for (const [name, graph, manifest, tower] of forms) {
  test(name, async (t) => {
    const folder = await fixture(name, graph, manifest, tower);
    const models = await load(t, { dllm: folder, clip: path.join(fixtures, 'clip') });
    for (const [images, options] of [
      [1, {}],
      [3, { particles: 2, length: 4, guesses: 2 }],
    ] as const) {
      const plan = planMemory(models, resolveOptions(options, models.dllm), images);
      t.is(plan.total, await held(models, options, images), JSON.stringify(options));
    }
  });
}

/** 40 ids before the prompt and 9 behind it. */
const template = { prefix: new Array<number>(40).fill(3), suffix: new Array<number>(9).fill(4) };
const byBlocks = { ...template, attention: 'block', blockGrid: 'row', defaults: { blockLength: 32 } };
const layouts: [name: string, layout: Layout, manifest: object, bytes: (states: number, n: number) => number][] = [
  ['all rows', {}, template, (states, n) => states * (n + 49) * (9 * 4 + 8)],
  // The logits are of the prompt's rows, whatever stands around them; ids are of all, and all states have the same rows.
  ['the prompt’s rows', { takesRows: true }, template, (states, n) => states * (n * 9 * 4 + (n + 49) * 8) + n * 8],
  [
    'the prompt’s rows in 16 and 32 bits, and a matrix that all states share',
    { takesRows: true, matrix: 'float16', logits: 'float16', integers: 'int32' },
    byBlocks,
    (states, n) => states * (n * 9 * 2 + (n + 49) * 4) + n * 4 + (n + 49) ** 2 * 2,
  ],
  [
    'all rows, given an image in 16 bits',
    { condition: 'float16' },
    { ...template, condition: { input: 'image_embeds', from: 'clip' } },
    (states, n) => states * ((n + 49) * (9 * 4 + 8) + 4 * 2),
  ],
];
for (const [name, layout, manifest, bytes] of layouts) {
  test(`logits of ${name}`, async (t) => {
    const folder = path.join(workspace, name);
    await attentive(folder, layout, manifest);
    const models = await load(t, { dllm: folder, clip: path.join(fixtures, 'clip') });
    for (const [images, particles, length] of [
      [1, 1, 1],
      [3, 2, 20],
    ] as const) {
      const options = { particles, length, minLength: 1 };
      const plan = planMemory(models, resolveOptions(options, models.dllm), images);
      t.is(plan.logits, bytes(images * particles, length));
      t.is(plan.total, await held(models, options, images));
    }
  });
}

test('a text tower with a mask', async (t) => {
  const clip = path.join(workspace, 'masked clip');
  await cp(path.join(fixtures, 'clip'), clip, { recursive: true });
  await cp(path.join(fixtures, 'graphs', 'text_attended.onnx'), path.join(clip, 'text_model.onnx'));
  const models = await load(t, { dllm: path.join(fixtures, 'dllm'), clip });
  const plan = planMemory(models, resolveOptions({}, models.dllm), 2);
  t.is(plan.total, await held(models, {}, 2));
});

test('a run that ONNX Runtime has no memory for', async (t) => {
  const file = path.join(workspace, 'large.onnx');
  const graph = onnxFile({
    nodes: [node('ConstantOfShape', 'n', 'zeros'), node('ReduceMax', 'zeros', 'largest')],
    inputs: [{ name: 'n', type: 'int64', dims: ['rows'] }],
    output: { name: 'largest', type: 'float32', dims: ['rows'] },
    constants: {},
  });
  await writeFile(file, graph);
  const engine = cpuEngine(1);
  t.teardown(() => engine.dispose());
  const session = await engine.load(file, { optimization: 99, cudaGraphs: false, prepacking: true });
  const largest = async (n: bigint): Promise<Float32Array> => {
    const input = { name: 'n', data: BigInt64Array.of(n), rowShape: [] };
    return (await session.run(1, [input], 'largest', [])).read();
  };
  t.deepEqual(await largest(1000n), Float32Array.of(0));
  const error = await t.throwsAsync(largest(2n ** 46n), { instanceOf: FkinvError, code: 'OUT_OF_MEMORY' });
  t.true(error.message.startsWith(`running ${file}: `), error.message);
});

test('fkinv doctor --plan', async (t) => {
  const { code, stdout, stderr } = await fkinv('doctor', '--plan', '--device', 'cpu', '--json');
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const report = JSON.parse(stdout) as MemoryReport;
  t.like(report, { device: 'cpu', particles: 8, length: 28, guesses: 1, vocabulary: 2048 });
  t.is(report.weights.dllm, (await stat(path.join(embedded('dllm'), 'model.onnx'))).size);
  t.deepEqual(
    report.plans.map(({ images }) => images),
    [1, 2, 4, 8],
  );
  const models = await load(t, { dllm: embedded('dllm'), clip: embedded('clip') });
  for (const plan of report.plans) t.is(plan.total, await held(models, {}, plan.images));
  const failed = await fkinv('doctor', '--plan', '--dllm', path.join(workspace, 'nowhere'));
  t.is(failed.code, 1);
  t.regex(failed.stderr, /\(MODEL_NOT_FOUND\)\n$/);
});

test('docs/install.md shows what --plan prints', async (t) => {
  const shown = blocksUnder('docs/install.md', 'Memory before anything is allocated').find(({ code }) =>
    code.includes('--plan'),
  );
  t.is(shown?.code, 'npx fkinv doctor --plan --device cpu\n');
  t.is(shown?.output, (await fkinv('doctor', '--plan', '--device', 'cpu')).stdout);
});
