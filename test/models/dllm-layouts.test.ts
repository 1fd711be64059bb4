// dLLMs in the layouts that public exports have (onnx/attentive.ts), from folder to prompt: each is the same model in another dress.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { FkinvError } from '../../lib/errors';
import { dllmParity, holds } from '../../lib/examine/parity';
import type { Inversion } from '../../lib/inversion';
import { Inverter } from '../../lib/inverter';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { ModelFolder } from '../../lib/models/model-folder';
import type { NativeEngine } from '../../lib/native/addon';
import type { InvertOptions } from '../../lib/options';
import { resolveOptions } from '../../lib/sampling/resolved-options';
import { cpuEngine } from '../helpers/cpu-engine';
import { logitsOf } from '../helpers/dllm-logits';
import { preparedFor } from '../helpers/models-demo';
import { walk } from '../helpers/walk';
import { attentionBlock, attentive, type Layout } from '../onnx/attentive';
import { qwen3Diffusion } from '../onnx/qwen3-diffusion';

const clipFolder = path.join(__dirname, '..', 'fixtures', 'models', 'clip');
const image = { data: new Uint8Array(10 * 5 * 3).fill(90), width: 10, height: 5, channels: 3 } as const;
const options: InvertOptions = { particles: 6, steps: 5, length: 7, minLength: 3, lambdaClip: 15 };
/** Six ids before the prompt, two behind it. */
const around = { prefix: [2, 3, 4, 5, 6, 7], suffix: [8, 0] };
const byBlocks = { ...around, attention: 'block', blockGrid: 'row', defaults: { blockLength: attentionBlock } };

let root: string;
let engine: NativeEngine;
let clip: Clip;
let count = 0;
test.before(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'fkinv-layouts-'));
  engine = cpuEngine(2);
  clip = await Clip.load(engine, new ModelFolder(clipFolder));
});
test.after.always(async () => {
  await engine.dispose();
  await rm(root, { recursive: true });
});

async function folder(layout: Layout, manifest: object = {}): Promise<string> {
  const at = path.join(root, String(++count));
  await attentive(at, layout, manifest);
  return at;
}

async function load(layout: Layout, manifest: object = {}): Promise<Dllm> {
  return Dllm.load(engine, new ModelFolder(await folder(layout, manifest)), clip);
}

async function invert(dllm: string, given = options): Promise<Inversion> {
  await using inverter = await Inverter.load({ dllm, clip: clipFolder });
  return await inverter.invert(image, given);
}

async function fails(t: ExecutionContext, call: Promise<unknown>, code: string, ...named: string[]): Promise<void> {
  const error = await t.throwsAsync(call, { instanceOf: FkinvError, code });
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
}

/** Tokens equal, numbers as far as rounding in another order lets them. */
function equal(t: ExecutionContext, found: Inversion, wanted: Inversion, tolerance = 1e-4): void {
  const bySlot = ({ particles }: Inversion): Inversion['particles'] => [...particles].sort((a, b) => a.slot - b.slot);
  for (const [k, { tokens, logProb, rewardClip }] of bySlot(wanted).entries()) {
    const particle = bySlot(found)[k] ?? t.fail();
    t.deepEqual(particle.tokens, tokens);
    t.true(Math.abs(particle.logProb - logProb) < tolerance, `${particle.logProb} is not ${logProb}`);
    t.true(Math.abs(particle.rewardClip - rewardClip) < tolerance);
  }
}

const condition = { input: 'image_embeds', from: 'clip' };
const plain: Layout = {};
/** What each layout is to give the same as. */
const dresses: [layout: Layout, manifest: object, as: Layout, asManifest: object][] = [
  [{ integers: 'int32' }, {}, plain, {}],
  [{ mask: 'int64', takesPositions: true, time: 'float32' }, around, plain, around],
  [{ mask: 'int32', takesPositions: true, integers: 'int32', time: 'int32' }, around, plain, around],
  [{ mask: 'float32', time: 'float16' }, around, plain, around],
  [{ mask: 'float16', time: 'int64' }, around, plain, around],
  [{ positions: 15, states: 1, mask: 'int64' }, around, plain, around],
  [{ takesRows: true }, around, plain, around],
  [{ takesRows: true, integers: 'int32', rows: 7 }, around, plain, around],
  [{ takesRows: true, positions: 15, rows: 7 }, around, plain, around],
  [{ takesRows: true, logits: 'float16', mask: 'int64' }, around, { logits: 'float16' }, around],
  [{ takesRows: true }, { ...around, logitShift: 1 }, plain, { ...around, logitShift: 1 }],
  [{ matrix: 'float32' }, around, plain, around],
  [{ matrix: 'float16', states: 1, positions: 15 }, around, plain, around],
  [{ matrix: 'float32', states: 1 }, byBlocks, { hasBlocks: true }, { ...byBlocks, attention: 'full' }],
  [{ matrix: 'float16', takesRows: true }, byBlocks, { hasBlocks: true }, { ...byBlocks, attention: 'full' }],
  [{ condition: 'float16' }, { condition }, { condition: 'float32' }, { condition }],
];
for (const [layout, manifest, as, asManifest] of dresses) {
  const name = inspect([layout, manifest], { depth: 4, breakLength: Infinity });
  test(`${name} gives what ${inspect(as)} gives`, async (t) => {
    // A condition in float16 is rounded; all else is the same arithmetic, or nearly.
    const isRounded = layout.condition === 'float16';
    equal(
      t,
      await invert(await folder(layout, manifest)),
      await invert(await folder(as, asManifest)),
      isRounded ? 0.05 : 1e-4,
    );
  });
}

test('attention by blocks, and blocks counted from the row’s start, matter', async (t) => {
  const tokensOf = async (layout: Layout, manifest: object): Promise<number[][]> =>
    (await invert(await folder(layout, manifest), { ...options, steps: 6 })).particles.map(({ tokens }) => tokens);
  const wanted = await tokensOf({ matrix: 'float32' }, byBlocks);
  t.notDeepEqual(await tokensOf({ matrix: 'float32' }, { ...byBlocks, attention: 'full' }), wanted);
  t.notDeepEqual(
    await tokensOf(
      { matrix: 'float32' },
      { ...byBlocks, blockGrid: 'prompt', defaults: { blockLength: 4, length: 7 } },
    ),
    wanted,
  );
});

test('what later blocks hold leaves the logits of a block as they are', async (t) => {
  const row = [2, 3, 4, 5, 6, 7, 1, 1, 1, 1, 1, 1, 1];
  const altered = [...row.slice(0, 8), 5, 4, 3, 2, 8];
  const first = [0, 1, 2, 3, 4, 5, 6, 7];
  const ofBlocks = await load({ matrix: 'float32', states: 1 }, byBlocks);
  t.deepEqual(await logitsOf(ofBlocks, row, first), await logitsOf(ofBlocks, altered, first));
  t.notDeepEqual(await logitsOf(ofBlocks, row, [8, 12]), await logitsOf(ofBlocks, altered, [8, 12]));
  const full = await load({ matrix: 'float32', states: 1 });
  t.notDeepEqual(await logitsOf(full, row, first), await logitsOf(full, altered, first));
});

for (const [given, firstBlock] of [
  [{ order: 'random', steps: 6 }, 2],
  [{ order: 'confidence', steps: 7 }, 2],
  [{ order: 'entropy', steps: 3, blockLength: 8 }, 2],
  [{ order: 'margin', steps: 5, length: 1, minLength: 1 }, 2],
] as [InvertOptions, number][]) {
  test(`blocks on the row’s grid are those of a plain walk: ${inspect(given)}`, async (t) => {
    const dllm = await load({ matrix: 'float32', takesRows: true }, byBlocks);
    const seed = 11n;
    const resolved = resolveOptions({ ...options, ...given, seed }, dllm);
    const embeds = await (
      await clip.encodeImage(await preparedFor(clip, path.join(__dirname, '..', '..', 'examples', 'bells.png')))
    ).read();
    const rows = Array.from({ length: resolved.length }, (_, i) => around.prefix.length + i);
    const forward = (tokens: number[]): Promise<Float32Array> =>
      logitsOf(dllm, [...around.prefix, ...tokens, ...around.suffix], rows);
    const { walkers } = await walk({ engine, clip, dllm }, [embeds], seed, resolved, { forward, firstBlock });
    await using inverter = await Inverter.load({
      dllm: await folder({ matrix: 'float32', takesRows: true }, byBlocks),
      clip: clipFolder,
    });
    const { particles } = await inverter.invert(path.join(__dirname, '..', '..', 'examples', 'bells.png'), {
      ...options,
      ...given,
      seed,
    });
    for (const { slot, tokens, logProb } of particles) {
      t.deepEqual(tokens, walkers[slot]?.tokens);
      t.true(Math.abs(logProb - (walkers[slot]?.logProb ?? NaN)) < 1e-4);
    }
  });
}

test('the row’s grid: a prompt that begins with a block has the blocks of the prompt’s own', async (t) => {
  const manifest = { prefix: [2, 3, 4, 5], defaults: { blockLength: 4, length: 7 } };
  const steps = { ...options, steps: 6 };
  const wanted = await invert(await folder(plain, manifest), steps);
  t.deepEqual(
    (await invert(await folder(plain, { ...manifest, blockGrid: 'row' }), steps)).particles,
    wanted.particles,
  );
});

test('the row’s grid: a block needs a step, however the prompt lies on it', async (t) => {
  const dllm = await load({ matrix: 'float32' }, byBlocks);
  t.is(resolveOptions({ length: 9, steps: 3, minLength: 1 }, dllm).blockLength, 4);
  t.throws(() => resolveOptions({ length: 9, steps: 2, minLength: 1 }, dllm), {
    code: 'INVALID_OPTION',
    message: /steps: 2/,
  });
  t.is(resolveOptions({ length: 3, steps: 2, minLength: 1 }, dllm).blockLength, 4, 'it is not cut to the prompt');
});

test('a folder without config.json', async (t) => {
  const at = await folder({ takesRows: true, mask: 'int64' }, { maxPositions: 20, prefix: [2, 3] });
  const wanted = await invert(at);
  await rm(path.join(at, 'config.json'));
  t.deepEqual((await invert(at)).particles, wanted.particles);
  const dllm = await Dllm.load(engine, new ModelFolder(at), clip);
  t.like(dllm, { maskId: 1, stops: [0], maxLength: 18, vocab: 9 });

  const without = (manifest: object): Promise<void> => writeFile(path.join(at, 'fkinv.json'), JSON.stringify(manifest));
  const again = (): Promise<Dllm> => Dllm.load(engine, new ModelFolder(at), clip);
  await without({});
  await fails(t, again(), 'MODEL_INVALID', at, 'maxPositions', 'max_position_embeddings', 'config.json', 'fkinv.json');

  await without({ maxPositions: 20 });
  const config = path.join(at, 'tokenizer_config.json');
  const tokens = JSON.parse(await readFile(config, 'utf8')) as object;
  await writeFile(config, JSON.stringify({ ...tokens, mask_token: undefined, eos_token: undefined }));
  const files = ['fkinv.json', 'config.json', 'tokenizer_config.json', 'special_tokens_map.json'];
  await fails(t, again(), 'MODEL_INVALID', at, '[MASK]', 'maskId', 'mask_token_id', 'mask_token', ...files);
  await writeFile(path.join(at, 'special_tokens_map.json'), JSON.stringify({ mask_token: { content: '<mask>' } }));
  await fails(t, again(), 'MODEL_INVALID', at, 'ends a prompt', 'stopIds', 'eos_token_id', 'eos_token', ...files);
  await writeFile(
    path.join(at, 'special_tokens_map.json'),
    JSON.stringify({ mask_token: '<mask>', eos_token: '<eos>' }),
  );
  t.like(await again(), { maskId: 1, stops: [0] });
});

for (const kind of ['mdlm', 'bd3lm'] as const) {
  test(`Qwen3-0.6B-diffusion-${kind}-ONNX, by the manifest that is built in`, async (t) => {
    const at = path.join(root, `Qwen3-0.6B-diffusion-${kind}-ONNX`);
    await qwen3Diffusion(at, kind);
    const loads: [string, number][] = [];
    const watching: NativeEngine = {
      device: engine.device,
      maxPositions: engine.maxPositions,
      load: (file, how) => {
        loads.push([path.basename(file), how.optimization]);
        return engine.load(file, how);
      },
      measureLimits: () => engine.measureLimits(),
      dispose: () => engine.dispose(),
    };
    await Dllm.load(watching, new ModelFolder(at, { variant: 'fp16' }), clip);
    const dllm = await Dllm.load(watching, new ModelFolder(at), clip);
    // A fusion breaks the one; the other is what a processor runs best, and wants all of them.
    t.deepEqual(loads, [
      ['model_fp16_fused.onnx', 0],
      ['model_q4f16_rtn_sym.onnx', 99],
    ]);
    t.like(dllm, {
      maskId: 151669,
      stops: [151645],
      vocab: 151936,
      condition: '',
      blockGrid: kind === 'bd3lm' ? 'row' : 'prompt',
    });
    t.is(dllm.graph().attentionBlock, kind === 'bd3lm' ? 32 : 0);
    for (const thought of [151667, 151668]) t.true(dllm.suppressed.includes(thought));
    const text = dllm.tokenizer.decode(dllm.prefix);
    t.true(text.startsWith('user\nDescribe a picture') && text.endsWith('assistant\n<think>\n\n</think>\n\n'), text);

    await using inverter = await Inverter.load({ dllm: at, clip: clipFolder });
    t.like(inverter.resolve({}), { length: 32, minLength: 8, particles: 8, order: 'confidence', blockLength: 32 });
    const { particles } = await inverter.invert(image, { particles: 2, steps: 4, hints: 0 });
    for (const { tokens } of particles) {
      t.is(tokens.length, 32);
      t.false(tokens.some((id) => dllm.suppressed.includes(id)));
    }
  });
}

test('a graph that fixes its positions needs no limit on them', async (t) => {
  const at = await folder({ positions: 15 }, around);
  await rm(path.join(at, 'config.json'));
  t.like(await Dllm.load(engine, new ModelFolder(at), clip), { maxLength: 7, fixedLength: 7 });
});

test('rows that the graph fixes', async (t) => {
  t.like(await load({ takesRows: true, rows: 9 }, around), { maxLength: 9, fixedLength: 9 });
  await fails(t, load({ takesRows: true, rows: 6, positions: 15 }, around), 'MODEL_INTERFACE', '6 rows', '7 positions');
  await fails(t, load({ takesRows: true, rows: 89 }, around), 'MODEL_INTERFACE', '89 rows', '88 positions');
});

test('manifests that do not fit the graph', async (t) => {
  await fails(t, load({ mask: 'int64' }, byBlocks), 'MODEL_INTERFACE', 'attention_mask', '"block"', 'fkinv.json');
  await fails(
    t,
    load({ matrix: 'float32' }, { attention: 'block' }),
    'MODEL_INVALID',
    'attention',
    'defaults.blockLength',
  );
  await fails(
    t,
    load({ matrix: 'float32' }, { blockGrid: 'row' }),
    'MODEL_INVALID',
    'blockGrid',
    'defaults.blockLength',
  );
  await fails(t, load({ takesRows: true }, { tensors: { positionIds: 'rows' } }), 'MODEL_INTERFACE', '"rows"');
});

test('parity of a graph that takes rows and a matrix', async (t) => {
  const at = await folder({ matrix: 'float32', takesRows: true }, byBlocks);
  const dllm = await Dllm.load(engine, new ModelFolder(at), clip);
  const whole = await load({ hasBlocks: true });
  const caseOf = async (input_ids: number[], rows: number[]): Promise<object> => {
    const logits = await logitsOf(whole, input_ids, rows);
    const row = (i: number): number[] => Array.from(logits.subarray(i * 9, (i + 1) * 9));
    const argmax = rows.map((_, i) => row(i).indexOf(Math.max(...row(i))));
    return { input_ids, rows, argmax, row0: row(0), lastRow: row(rows.length - 1) };
  };
  const cases = [await caseOf([2, 3, 4, 1, 1, 5], [3, 4]), await caseOf([2, 3, 4, 5, 6, 1, 1, 1, 1], [5, 6, 7, 8])];
  const write = (given: object[]): Promise<void> => writeFile(path.join(at, 'parity.json'), JSON.stringify(given));
  const results = (of = dllm): ReturnType<typeof dllmParity> =>
    dllmParity(new ModelFolder(at), 'parity.json', of, clip);
  await write(cases);
  t.true((await results()).every(holds));
  t.true((await results(whole)).every(holds), 'rows of a graph that gives all');
  const unmasked = await load({ matrix: 'float32', takesRows: true });
  t.false((await results(unmasked)).every(holds));
  await write([{ ...cases[0], rows: [3, 6] }, ...cases.slice(1)]);
  await fails(t, results(), 'MODEL_INVALID', '0.rows');
  await write([{ ...cases[0], rows: [3, 4, 5] }, ...cases.slice(1)]);
  await fails(t, results(), 'MODEL_INVALID', '0.argmax', '3 rows');
});
