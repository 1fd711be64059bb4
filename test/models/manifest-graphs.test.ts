// What a manifest says of graphs: their inputs and outputs, their files, and CLIP’s two towers.
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inspect } from 'node:util';
import test from 'ava';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { Inverter } from '../../lib/inverter';
import { ModelFolder } from '../../lib/models/model-folder';
import type { NativeEngine } from '../../lib/native/addon';
import { root as packageRoot, preparedFor } from '../helpers/models-demo';
import {
  type Json,
  blue,
  clip,
  engine,
  eos,
  fails,
  fixtures,
  folder,
  green,
  image,
  loadDllm,
  logProbability,
  mask,
  openInverter,
  options,
  plain,
  red,
  root,
  seeing,
  setUp,
  token,
  unk,
} from '../helpers/manifest-folders';

// docs/manifest.md says what is tested here.

setUp();

// What the graph takes and gives. Every one of these is plain in another dress.

for (const [graph, manifest] of [
  ['dllm_int32_ids', {}],
  ['dllm_extra_input', {}], // an attention mask, by its usual name
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

test('tensors that the graph has not, or has otherwise', async (t) => {
  const refused = (graph: string, tensors: Json, ...named: string[]): Promise<void> =>
    fails(t, loadDllm({ graph, manifest: { tensors } }), 'MODEL_INTERFACE', 'model.onnx', ...named);
  await refused('dllm_plain', { ids: 'ids' }, 'no int64 or int32 input "ids" [states, positions]');
  await refused('dllm_plain', { logits: 'scores' }, 'output "scores" [states, positions, vocab]');
  await refused('dllm_plain', { attentionMask: 'mask' }, 'no int64, int32, float32 or float16 input "mask"');
  await refused('dllm_plain', { positionIds: 'places' }, 'no int64 or int32 input "places" [states, positions]');
  await refused('dllm_plain', { timestep: 'time' }, 'no float32, float16, int64 or int32 input "time" [states]');
  const named = { attentionMask: 'mask', positionIds: 'places' };
  await refused('dllm_attended', named, 'float32 "time" [?] besides input_ids, mask, places', 'fkinv.json');
  await refused('dllm_attended', { ...named, positionIds: 'time' }, 'should have int64 or int32 input "time"');
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

// Files.

/** The engine, and what it is asked to load. */
function watched(): {
  watching: NativeEngine;
  loads: [file: string, optimization: number][];
  prepacked: boolean[];
} {
  const loads: [string, number][] = [];
  const prepacked: boolean[] = [];
  const watching: NativeEngine = {
    device: engine.device,
    maxPositions: engine.maxPositions,
    load: (file, options) => {
      loads.push([file, options.optimization]);
      prepacked.push(options.prepacking);
      return engine.load(file, options);
    },
    measureLimits: () => engine.measureLimits(),
    dispose: () => engine.dispose(),
  };
  return { watching, loads, prepacked };
}

test('weights are prepacked unless the folder is opened without', async (t) => {
  const { watching, prepacked } = watched();
  const at = await folder('clip');
  await Clip.load(watching, new ModelFolder(at));
  await Clip.load(watching, new ModelFolder(at, { prepacking: false }));
  t.deepEqual(prepacked, [true, true, false, false]);
});

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

test('without a plain graph the variant that the device runs best is taken, and said', async (t) => {
  const at = await folder('dllm');
  await move(path.join(at, 'model.onnx'), path.join(at, 'onnx', 'model_q4.onnx'));
  await writeFile(path.join(at, 'onnx', 'model_fp16.onnx'), 'not read');
  const said: string[] = [];
  const asked = new ModelFolder(at, { warn: (line) => said.push(line) });
  await t.notThrowsAsync(Dllm.load(engine, asked, clip));
  await t.notThrowsAsync(Dllm.load(engine, asked, clip)); // as onto a second engine, which says it no second time
  t.deepEqual(said, [`${at}: takes onnx/model_q4.onnx (q4), of q4, fp16 the one for the cpu`]);

  const towers = await folder('clip');
  await move(path.join(towers, 'text_model.onnx'), path.join(towers, 'text_model_quantized.onnx'));
  await t.notThrowsAsync(Clip.load(engine, new ModelFolder(towers)));
});

test('a variant that is asked for is the only one taken, by its suffix or as the manifest names it', async (t) => {
  const at = await folder('dllm');
  const load = (variant: string): Promise<Dllm> => Dllm.load(engine, new ModelFolder(at, { variant }), clip);
  await fails(t, load('q8'), 'MODEL_NOT_FOUND', 'model_quantized.onnx', 'model_q8.onnx', 'it has fp32');
  await cp(path.join(at, 'model.onnx'), path.join(at, 'model_q8.onnx'));
  await t.notThrowsAsync(load('q8'));
  await fails(t, load('tiny'), 'MODEL_NOT_FOUND', 'no variant tiny', 'it has fp32, q8');
  await move(path.join(at, 'model.onnx'), path.join(at, 'small.onnx'));
  const variants = { tiny: { graph: 'small.onnx', optimization: 'disabled' } };
  await writeFile(path.join(at, 'fkinv.json'), JSON.stringify({ variants }));
  await t.notThrowsAsync(load('tiny'));
  const { watching, loads } = watched();
  await rm(path.join(at, 'model_q8.onnx'));
  await Dllm.load(watching, new ModelFolder(at), clip);
  t.deepEqual(loads[0]?.slice(0, 2), [path.join(at, 'small.onnx'), 0]);
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
