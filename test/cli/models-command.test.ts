// `fkinv models`: what it says of folders, right ones and wrong ones. test/fixtures/make_models.py tells what the graphs are.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import type { Check } from '../../lib/examine/checks';
import { errorCodes } from '../../lib/errors';
import { examineFolders, type FolderReport } from '../../lib/examine/folders';
import { cpuEngine } from '../helpers/cpu-engine';
import { blocksUnder } from '../helpers/documents';
import { fkinv } from '../helpers/fkinv';
import { float32, int64, node, onnxFile, type Graph } from '../onnx/builder';
import { lladaVocab, wideF16 } from '../onnx/models';

type Json = Record<string, unknown>;

const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
const clip = path.join(fixtures, 'clip');
const weights = JSON.parse(readFileSync(path.join(fixtures, 'weights.json'), 'utf8')) as Record<string, number[][]>;
const { token = [], text = [], condition = [] } = weights;
const see = JSON.parse(readFileSync(path.join(fixtures, 'see.json'), 'utf8')) as number[][];

let workspace: string;
let count = 0;
test.before(async () => (workspace = await mkdtemp(path.join(tmpdir(), 'fkinv-models-'))));
test.after.always(() => rm(workspace, { recursive: true }));

interface Folder {
  /** A file of fixtures/models/graphs, or a graph. */
  graph?: string | Graph;
  manifest?: Json;
  /** Contents of parity.json, which the manifest then names. */
  parity?: unknown;
}

async function dllm({ graph, manifest = {}, parity }: Folder = {}): Promise<string> {
  const at = path.join(workspace, `dllm-${++count}`);
  await cp(path.join(fixtures, 'dllm'), at, { recursive: true });
  if (graph !== undefined) {
    const file = path.join(at, 'model.onnx');
    if (typeof graph === 'string') await cp(path.join(fixtures, 'graphs', `${graph}.onnx`), file);
    else await writeFile(file, onnxFile(graph));
    const config = path.join(at, 'config.json');
    const fields = JSON.parse(await readFile(config, 'utf8')) as Json;
    await writeFile(config, JSON.stringify({ ...fields, condition: undefined }));
  }
  await addParity(at, manifest, parity);
  return at;
}

async function addParity(at: string, manifest: Json, parity: unknown): Promise<void> {
  const named = parity === undefined ? {} : { parity: 'parity.json' };
  await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ ...manifest, ...named }));
  if (parity !== undefined) await writeFile(path.join(at, 'parity.json'), JSON.stringify(parity));
}

async function examine(...folders: string[]): Promise<FolderReport> {
  const [report] = await examineFolders(folders, { device: 'cpu', warn: () => undefined });
  if (report === undefined) throw new RangeError('no report');
  return report;
}

function check({ checks }: FolderReport, name: string): Check {
  return checks.find((one) => one.name === name) ?? { name, ok: false, detail: 'no such check' };
}

/** A row is `rowOf` of its ids; what the model of a case gives. */
function caseOf(input_ids: number[], rowOf: (id: number) => number[] = (id) => token[id] ?? [], more: Json = {}): Json {
  const rows = input_ids.map(rowOf);
  const argmax = rows.map((row) => row.indexOf(Math.max(...row)));
  return { input_ids, argmax, row0: rows[0]?.slice(0, 9), lastRow: rows.at(-1), ...more };
}

const four = [1, 3, 4, 1];
const six = [5, 1, 3, 1, 4, 1];

// The command.

test('the embedded models: listed by default, and in parity with what they were exported from', async (t) => {
  const { code, stdout, stderr } = await fkinv('models', '--json');
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const [first, second] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as FolderReport);
  t.like(first, { kind: 'clip', ok: true, licence: 'MIT', weightType: 'float16', parityFile: 'parity.json' });
  t.like(second, { kind: 'dllm', ok: true, licence: 'MIT', weightType: 'float16', parityFile: 'parity.json' });
  t.deepEqual(first?.facts, { embedSize: 256, maxWidth: 48, tokens: 935, image: { width: 64, height: 64 } });
  t.like(second?.facts, { vocabulary: 2048, tokens: 2048, maskId: 1, stopIds: [0], maxLength: 32, logitShift: 0 });
  t.deepEqual(second?.graphs[0]?.outputs, [{ name: 'logits', type: 'float32', shape: [-1, -1, 2048] }]);
  t.deepEqual(
    first?.parity.map(({ length }) => length),
    [5, 14],
  );
  t.deepEqual(
    second?.parity.map(({ length }) => length),
    [24, 17],
  );
  for (const { difference, tolerance } of [first?.parity ?? [], second?.parity ?? []].flat()) {
    t.is(tolerance, 0.002);
    t.true(difference !== null && difference > 0 && difference < 0.0005);
  }
});

test('for people: facts, then a line a check; the exit code is 1 where one fails', async (t) => {
  const [right, wrong] = [await dllm(), await dllm({ parity: [caseOf(four), caseOf(six)] })];
  const { code, stdout, stderr } = await fkinv('models', right, clip, wrong);
  t.is(stderr, '');
  t.is(code, 1);
  const [first = '', second = '', third = ''] = stdout.split('\n\n');
  t.true(first.startsWith(`${right}\n  graph       model.onnx\n    takes     input_ids int64 [?, ?], `));
  t.regex(first, /^ {2}✓ parity +not checked: fkinv\.json names no file of parity$/m);
  t.regex(second, /^ {2}image {6}8 × 8 pixels$/m);
  t.regex(third, /^ {2}✗ parity .*image_embeds.*\(MODEL_INVALID\)\n {12}→ /m);
  t.is((await fkinv('models', right, clip)).code, 0);
});

test('a pair inverts a picture in a process of its own, which says what memory it takes', async (t) => {
  const { footprint } = await examine(await dllm(), clip);
  t.like(footprint, { particles: 8, length: 8 });
  const { bytes = 0, peakBytes = 0 } = footprint ?? {};
  t.true(bytes > 10e6 && bytes <= peakBytes && peakBytes < 1e9, JSON.stringify(footprint));
  t.is((await examine(await dllm())).footprint, null, 'no CLIP was given with it');

  const broken = await examine(await dllm({ manifest: { prefix: [12] } }), clip);
  t.is(broken.footprint, null);
  const blocks = { blockGrid: 'row', defaults: { blockLength: 4 } };
  t.true(
    check(await examine(await dllm({ manifest: blocks }), clip), 'inversion').ok,
    'a step for each of three blocks',
  );
});

test('docs/models.md shows what it prints of models/dllm', async (t) => {
  const { stdout } = await fkinv('models', 'models/dllm');
  const masked = (output: string): string => output.replace(/off by at most \S+/, 'off by at most #'); // by processor
  const shown = blocksUnder('docs/models.md', 'Checking models').find(({ code }) => code.includes('models/dllm'));
  t.is(shown?.code, 'npx fkinv models models/dllm\n');
  t.is(masked(shown?.output ?? ''), masked(stdout));
});

test('the cases of parity in docs/manifest.md hold', async (t) => {
  const [ofDllm, ofClip] = blocksUnder('docs/manifest.md', 'Parity').map(({ code }) => JSON.parse(code) as unknown);
  for (const report of [await examine(await dllm({ graph: 'dllm_plain', parity: ofDllm })), await clipWith(ofClip)]) {
    t.true(report.ok, JSON.stringify(report.checks));
    t.is(report.parity.length, 2);
  }
});

// What a folder is.

test('the kind is by the manifest, the graphs or config.json', async (t) => {
  t.is((await examine(clip)).kind, 'clip');
  t.is((await examine(await dllm(), clip)).kind, 'dllm');

  const named = await dllm({ manifest: { graph: 'text_model.onnx' } });
  await rename(path.join(named, 'model.onnx'), path.join(named, 'text_model.onnx'));
  const dllmByManifest = await examine(named, clip);
  t.true(dllmByManifest.kind === 'dllm' && dllmByManifest.ok, JSON.stringify(dllmByManifest.checks));

  const export2 = path.join(workspace, 'clip-onnx');
  await cp(clip, export2, { recursive: true });
  await mkdir(path.join(export2, 'onnx'));
  for (const name of ['vision_model.onnx', 'text_model.onnx']) {
    await rename(path.join(export2, name), path.join(export2, 'onnx', name));
  }
  await cp(path.join(export2, 'onnx', 'text_model.onnx'), path.join(export2, 'onnx', 'model.onnx'));
  const inOnnx = await examine(export2);
  t.true(inOnnx.kind === 'clip' && inOnnx.ok, JSON.stringify(inOnnx.checks));
  t.true(inOnnx.files.some(({ name }) => name === 'onnx/vision_model.onnx'));

  await rm(path.join(export2, 'onnx'), { recursive: true });
  const without = await examine(export2);
  t.is(without.kind, 'clip');
  t.is(check(without, 'graphs').code, 'MODEL_NOT_FOUND');
});

test('a folder of no kind, or none', async (t) => {
  const empty = path.join(workspace, 'empty');
  await mkdir(empty);
  for (const folder of [empty, path.join(workspace, 'nowhere')]) {
    const report = await examine(folder);
    t.like(report, { ok: false, kind: null, files: [], graphs: [], parity: [] });
    t.like(check(report, 'kind'), { code: 'MODEL_NOT_FOUND', remedy: errorCodes.MODEL_NOT_FOUND });
    t.is(report.checks.length, 1);
  }
  const { code, stdout } = await fkinv('models', empty);
  t.is(code, 1);
  t.regex(stdout, /^.*empty\n {2}✗ kind {2}.*is no model folder/);
});

test('a manifest that cannot be read', async (t) => {
  const folder = await dllm({ manifest: { maskID: 1 } });
  const report = await examine(folder, clip);
  t.like(check(report, 'files'), { ok: false, code: 'MODEL_INVALID' });
  t.true(check(report, 'files').detail.includes('maskID'));
  t.is(check(report, 'graphs').detail, 'not run: files comes first');
});

test('a graph that does not fit', async (t) => {
  const report = await examine(await dllm({ graph: 'dllm_no_logits' }), clip);
  t.like(check(report, 'graphs'), { ok: false, code: 'MODEL_INTERFACE', remedy: errorCodes.MODEL_INTERFACE });
  const defaults = await examine(await dllm({ manifest: { defaults: { order: 'entropy', temperature: 0 } } }), clip);
  t.like(check(defaults, 'graphs'), { ok: false, code: 'MODEL_INVALID' });
});

test('a dLLM that does not fit the embedded CLIP is told to come with its own', async (t) => {
  const folder = await dllm();
  const alone = await examine(folder);
  t.is(check(alone, 'graphs').code, 'MODEL_INTERFACE');
  t.regex(check(alone, 'graphs').remedy ?? '', /give that folder beside it.*256 numbers/);
  t.true((await examine(folder, clip)).ok);
});

// Hashes.

test('files are held to the hashes of SHA256SUMS and of the manifest', async (t) => {
  const folder = await dllm({ graph: 'dllm_plain' });
  const sums = path.join(folder, 'SHA256SUMS');
  const sha256 = createHash('sha256')
    .update(await readFile(path.join(folder, 'model.onnx')))
    .digest('hex');
  t.regex(check(await examine(folder), 'files').detail, /no SHA-256 is given/);
  const count = (await examine(folder)).files.length;
  for (const line of [`${sha256} *model.onnx\n`, `${sha256}  ./model.onnx\n`]) {
    await writeFile(sums, line);
    const right = await examine(folder);
    t.true(right.ok);
    t.regex(check(right, 'files').detail, /SHA-256 as given for 1/);
    t.is(right.files.length, count, 'no file counts twice');
  }
  await writeFile(sums, `${'0'.repeat(64)}  model.onnx\n`);
  t.regex(check(await examine(folder), 'files').detail, new RegExp(`${sha256}, and 0{64} is given`));
  await writeFile(sums, `${sha256}  weights.bin\n`);
  t.is(check(await examine(folder), 'files').code, 'MODEL_NOT_FOUND');
  await rm(sums);
  await writeFile(path.join(folder, 'fkinv.json'), JSON.stringify({ files: { 'model.onnx': '0'.repeat(64) } }));
  t.is(check(await examine(folder), 'files').code, 'MODEL_INVALID');
});

test('a file that is there and cannot be read is named, and no fault of the package', async (t) => {
  const folder = await dllm({ graph: 'dllm_plain' });
  await mkdir(path.join(folder, 'SHA256SUMS'));
  const sums = check(await examine(folder), 'files');
  t.like(sums, { ok: false, code: 'MODEL_NOT_FOUND' });
  t.true(sums.detail.startsWith(`cannot read ${path.join(folder, 'SHA256SUMS')} (EISDIR`), sums.detail);
  await rm(path.join(folder, 'SHA256SUMS'), { recursive: true });

  if (process.platform !== 'linux') return;
  await rm(path.join(folder, 'model.onnx'));
  await symlink('/proc/self/mem', path.join(folder, 'model.onnx')); // a file whose first bytes not even root can read
  const graph = check(await examine(folder), 'files');
  t.like(graph, { ok: false, code: 'MODEL_NOT_FOUND' });
  t.true(graph.detail.startsWith(`cannot read ${path.join(folder, 'model.onnx')} (EIO`), graph.detail);
});

test('external data counts among the files, by the name that the graph has for it', async (t) => {
  const weights = { ...float32([2, 2], []), location: '0f8fad5b-d9cb-469f-a165-70867728950e' };
  const folder = await dllm({
    graph: {
      nodes: [node('Gather', 'w input_ids', 'logits')],
      inputs: [{ name: 'input_ids', type: 'int64', dims: ['batch', 'positions'] }],
      output: { name: 'logits', type: 'float32', dims: ['batch', 'positions', 2] },
      constants: { w: weights },
    },
  });
  await writeFile(path.join(folder, weights.location), Buffer.alloc(16));
  await writeFile(path.join(folder, 'model.onnx_data'), 'of an earlier export');
  await writeFile(path.join(folder, 'README.md'), 'no part of the model');
  const names = (await examine(folder)).files.map(({ name }) => name);
  t.true(names.includes(weights.location));
  for (const other of ['model.onnx_data', 'README.md']) t.false(names.includes(other));
});

// Parity of a dLLM.

test('parity holds at two lengths', async (t) => {
  const embeds = [0.5, -1, 0.25, 2];
  const shift = (token[0] ?? []).map((_, v) => embeds.reduce((sum, x, e) => sum + x * (condition[e]?.[v] ?? NaN), 0));
  const rowOf = (id: number): number[] => (token[id] ?? []).map((z, v) => z + (shift[v] ?? NaN));
  const parity = [four, six].map((ids) => caseOf(ids, rowOf, { image_embeds: embeds }));
  const report = await examine(await dllm({ parity }), clip);
  t.true(report.ok, JSON.stringify(report.checks));
  t.deepEqual(
    report.parity.map(({ length }) => length),
    [4, 6],
  );
  t.true(report.parity.every(({ difference }) => difference !== null && difference < 1e-6));
  t.regex(check(report, 'parity').detail, /^at 4 and 6 positions, off by at most /);
});

for (const [graph, manifest, more] of [
  ['dllm_plain', {}, {}],
  ['dllm_other_names', { tensors: { ids: 'ids', logits: 'scores' } }, {}],
  ['dllm_attended', { tensors: { attentionMask: 'mask', positionIds: 'places', timestep: 'time' } }, {}],
  ['dllm_attended_int64', { tensors: { attentionMask: 'mask', positionIds: 'places', timestep: 'time' } }, {}],
  ['dllm_float16_logits', {}, {}],
  ['dllm_bfloat16_logits', {}, {}],
  ['dllm_batch_of_2', {}, undefined],
] as const) {
  test(`parity of ${graph}`, async (t) => {
    const report = await examine(await dllm({ graph, manifest, parity: [caseOf(four), caseOf(six)] }));
    if (more === undefined) {
      t.is(check(report, 'graphs').code, 'MODEL_INTERFACE');
      return;
    }
    t.true(report.ok, JSON.stringify(report.checks));
    t.deepEqual(
      report.parity.map(({ difference }) => difference),
      [0, 0],
    );
    const tolerance = graph.includes('bfloat16') ? 0.5 : graph.includes('float16') ? 0.05 : 0.002;
    t.true(report.parity.every((one) => one.tolerance === tolerance));
  });
}

test('parity of a dLLM with a vision graph of its own: image_embeds are its features, flat', async (t) => {
  const features = [1, 0, -1, 0.5, 2, 0];
  const shift = (token[0] ?? []).map((_, v) => features.reduce((sum, x, f) => sum + x * (see[f]?.[v] ?? NaN), 0));
  const rowOf = (id: number): number[] => (token[id] ?? []).map((z, v) => z + (shift[v] ?? NaN));
  const parity = [four, six].map((ids) => caseOf(ids, rowOf, { image_embeds: features }));
  const condition = { input: 'image_features', from: 'tower.onnx', output: 'image_features' };
  const folder = await dllm({ graph: 'dllm_seeing', manifest: { condition }, parity });
  await cp(path.join(fixtures, 'graphs', 'tower_halves.onnx'), path.join(folder, 'tower.onnx'));
  const size = { height: 4, width: 4 };
  await writeFile(
    path.join(folder, 'preprocessor_config.json'),
    JSON.stringify({ size, do_center_crop: false, image_mean: [0, 0, 0], image_std: [1, 1, 1] }),
  );
  const report = await examine(folder, clip);
  t.true(report.ok, JSON.stringify(report.checks));
  t.is(report.graphs.length, 2);
  t.true(report.files.some(({ name }) => name === 'tower.onnx'));
});

test('logits of 16 bits at a public model’s size are within their tolerance of the float32 graph’s', async (t) => {
  for (const [make, vocab, within] of [
    [wideF16, 50257, 0.05],
    [lladaVocab, 126464, 0.5],
  ] as const) {
    const [half, single] = [path.join(workspace, `wide-${vocab}`), path.join(workspace, `wide-${vocab}-single`)];
    await Promise.all([make(half), make(single, 'float32')]);
    const parity = await Promise.all(
      [
        [7, 9, 11],
        [5, 3, 2, 1, 8],
      ].map((ids) => casesOf(single, ids, vocab)),
    );
    await addParity(half, {}, parity);
    const report = await examine(half);
    t.true(report.ok, JSON.stringify(report.checks));
    t.true(report.parity.every(({ tolerance, difference }) => tolerance === within && (difference ?? 0) > 0));
  }
});

async function casesOf(folder: string, ids: number[], vocab: number): Promise<Json> {
  const engine = cpuEngine(1);
  const session = await engine.load(path.join(folder, 'model.onnx'), {
    optimization: 99,
    cudaGraphs: false,
    prepacking: true,
  });
  const input = { name: 'input_ids', data: BigInt64Array.from(ids, BigInt), rowShape: [ids.length] };
  const logits = await (await session.run(1, [input], 'logits', [ids.length, vocab])).read();
  await engine.dispose();
  const rows = ids.map((_, i) => logits.subarray(i * vocab, (i + 1) * vocab));
  const argmax = rows.map((row) => row.indexOf(row.reduce((a, b) => Math.max(a, b))));
  return {
    input_ids: ids,
    argmax,
    row0: Array.from(rows[0] ?? []),
    lastRow: Array.from(rows.at(-1) ?? []).slice(0, 64),
  };
}

const ids = { name: 'input_ids', type: 'int64', dims: ['states', 'positions'] } as const;
const logits = { name: 'logits', type: 'float32', dims: ['states', 'positions', 12] } as const;
const tokens = float32([12, 12], token.flat());

/** A table of the positions that is right for the first four only, as one baked at the trace is. */
const baked: Graph = {
  nodes: [
    node('Shape', 'input_ids', 'shape'),
    node('Gather', 'shape one', 'width'),
    node('Range', 'zero width one', 'places'),
    node('Gather', 'table places', 'where'),
    node('Gather', 'token input_ids', 'each'),
    node('Add', 'each where', 'logits'),
  ],
  inputs: [{ ...ids, dims: [...ids.dims] }],
  output: { ...logits, dims: [...logits.dims] },
  constants: {
    zero: int64([], [0]),
    one: int64([], [1]),
    table: float32(
      [8, 12],
      Array.from({ length: 96 }, (_, i) => (i < 48 ? 0 : i % 2 === 0 ? 9 : -9)),
    ),
    token: tokens,
  },
};

/** The same fault where it stops the graph. */
const breaking: Graph = {
  nodes: [node('Gather', 'token input_ids', 'each'), node('Add', 'each mask', 'logits')],
  inputs: baked.inputs,
  output: baked.output,
  constants: { mask: float32([4, 12], new Float32Array(48)), token: tokens },
};

test('a graph that holds at the length it was traced at only', async (t) => {
  for (const [graph, found] of [
    [baked, /off by 9\.0 at 6/],
    [breaking, /MODEL_RUN|broadcast|dimension.* at 6/i],
  ] as const) {
    const report = await examine(await dllm({ graph, parity: [caseOf(four), caseOf(six)] }));
    t.false(report.ok);
    t.like(check(report, 'parity'), { ok: false, code: 'MODEL_INVALID' });
    t.regex(check(report, 'parity').detail, /^off by 0(\.0)? at 4 positions/);
    t.regex(check(report, 'parity').detail, found);
    t.regex(check(report, 'parity').remedy ?? '', /rotary tables.*attention mask/);
    t.is(report.parity[0]?.difference, 0);
    t.is(report.parity[1]?.error === undefined, graph === baked);
  }
});

test('a graph that is off at every length, or gives NaN', async (t) => {
  const rowOf = (id: number): number[] => (token[id] ?? []).map((z) => z + 0.01);
  const off = await examine(await dllm({ graph: 'dllm_plain', parity: [caseOf(four, rowOf), caseOf(six, rowOf)] }));
  t.regex(check(off, 'parity').detail, /^off by 0\.010 at 4 positions \(0\.002 is allowed\); off by 0\.010 at 6/);
  t.regex(check(off, 'parity').remedy ?? '', /^The graph gives other numbers than the model/);
  const allowed = [caseOf(four, rowOf, { tolerance: 0.02 }), caseOf(six, rowOf, { tolerance: 0.011 })];
  t.true((await examine(await dllm({ graph: 'dllm_plain', parity: allowed }))).ok);
  const mixed = [caseOf(four), caseOf(four, rowOf), caseOf(six)];
  const ofOneLength = await examine(await dllm({ graph: 'dllm_plain', parity: mixed }));
  t.regex(check(ofOneLength, 'parity').remedy ?? '', /^The graph gives other numbers/, 'length is not what tells them');
  const nan = await examine(await dllm({ graph: 'dllm_nan', parity: [caseOf(four), caseOf(six)] }));
  t.regex(check(nan, 'parity').detail, /^NaN or infinite at 4 positions/);
  t.is(nan.parity[0]?.difference, null);
});

test('argmax alone tells rows apart', async (t) => {
  const wrong = { ...caseOf(six), argmax: [0, 0, 0, 0, 0, 0] };
  const report = await examine(await dllm({ graph: 'dllm_plain', parity: [caseOf(four), wrong] }));
  t.false(report.ok);
  const least = Math.max(...six.map((id) => Math.max(...(token[id] ?? [])) - (token[id]?.[0] ?? NaN)));
  t.is(report.parity[1]?.difference, least);
});

test('a graph that fixes its positions has cases of that length only', async (t) => {
  t.true((await examine(await dllm({ graph: 'dllm_length_of_6', parity: [caseOf(six)] }))).ok);
});

for (const [what, parity, named] of [
  ['no cases', [], /must not be empty/],
  ['no list', {}, /parity\.json/],
  ['many faults', [{ ...caseOf(four), row0: new Array(12).fill('0') }], /row0\.7: .*; and 4 more$/],
  ['one length', [caseOf(four), caseOf([3, 3, 3, 3])], /all cases have the length 4.*add one/],
  ['an unknown key', [caseOf(four), caseOf(six, undefined, { logits: [] })], /logits/],
  ['too few argmax', [caseOf(four), { ...caseOf(six), argmax: [1] }], /1\.argmax: has 1 ids, 6 rows are asked for/],
  ['too long a row', [{ ...caseOf(four), row0: new Array(13).fill(0) }, caseOf(six)], /0\.row0: has 13 numbers/],
  ['an id that has no column', [{ ...caseOf(four), input_ids: [1, 2, 3, 12] }, caseOf(six)], /0: has the id 12/],
  ['an image that is not taken', [caseOf(four, undefined, { image_embeds: [1] }), caseOf(six)], /takes no image/],
  ['a tolerance of 0', [caseOf(four, undefined, { tolerance: 0 }), caseOf(six)], /tolerance: must be above 0/],
] as const) {
  test(`cases of parity that cannot be: ${what}`, async (t) => {
    const report = await examine(await dllm({ graph: 'dllm_plain', parity }));
    t.like(check(report, 'parity'), { ok: false, code: 'MODEL_INVALID' });
    t.regex(check(report, 'parity').detail, named);
  });
}

test('cases without the image that the graph takes, and a file that is not there', async (t) => {
  const blind = await examine(await dllm({ parity: [caseOf(four), caseOf(six)] }), clip);
  t.regex(check(blind, 'parity').detail, /0\.image_embeds: must be the 4 numbers of "image_embeds"/);
  const missing = await examine(await dllm({ graph: 'dllm_plain', manifest: { parity: 'cases.json' } }));
  t.is(check(missing, 'parity').code, 'MODEL_NOT_FOUND');
});

// Parity of a CLIP.

/** <bos>, the words, <eos>: their rows' sum. */
function embedsOf(ids: number[]): number[] {
  return [0, 1, 2, 3].map((e) => ids.reduce((sum, id) => sum + (text[id]?.[e] ?? NaN), 0));
}

async function clipWith(parity: unknown): Promise<FolderReport> {
  const at = path.join(workspace, `clip-${++count}`);
  await cp(clip, at, { recursive: true });
  await addParity(at, {}, parity);
  return examine(at);
}

test('parity of a CLIP: the direction of its texts’ embeddings', async (t) => {
  const red = { text: 'red', text_embeds: embedsOf([1, 4, 2]) };
  const redCat = { text: 'red cat', text_embeds: embedsOf([1, 4, 7, 2]).map((x) => 5 * x) };
  const right = await clipWith([red, redCat]);
  t.true(right.ok, JSON.stringify(right.checks));
  t.deepEqual(
    right.parity.map(({ length }) => length),
    [3, 4],
  );
  t.true(right.parity.every(({ difference }) => difference !== null && difference < 1e-6));
  t.regex(check(right, 'parity').detail, /^at 3 and 4 tokens/);

  const wrong = await clipWith([red, { ...redCat, text: 'red dog' }]);
  t.regex(check(wrong, 'parity').detail, /^off by .* at 3 tokens .*; off by 0\.\d+ at 4 tokens/);
  const one = await clipWith([red, { ...red, text: 'cat' }]);
  t.regex(check(one, 'parity').detail, /all cases have the length 3/);
  const short = await clipWith([red, { ...redCat, text_embeds: [1, 2] }]);
  t.regex(check(short, 'parity').detail, /1\.text_embeds: has 2 numbers, an embedding 4/);
  const nowhere = await clipWith([red, { ...redCat, text_embeds: [0, 0, 0, 0] }]);
  t.regex(check(nowhere, 'parity').detail, /1\.text_embeds: must not be 0 everywhere/);
});
