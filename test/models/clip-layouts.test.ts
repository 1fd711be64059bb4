// CLIPs in the layouts that public exports have (onnx/clips.ts): each gives what its weights give when it is computed by hand, of the row
// of ids that its library would make.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FkinvError } from '../../lib/errors';
import { PictureMemory } from '../../lib/images/budget';
import { preparePicture } from '../../lib/images/prepare';
import { Inverter } from '../../lib/inverter';
import { Clip } from '../../lib/models/clip';
import { ModelFolder } from '../../lib/models/model-folder';
import type { NativeEngine } from '../../lib/native/addon';
import { cpuEngine } from '../helpers/cpu-engine';
import { picture } from '../helpers/pictures';
import { clipTokens, imageEmbedding, side, textEmbedding, writeClip, type ClipLayout } from '../onnx/clips';
import { fragments } from '../onnx/models';

const half: [number, number, number] = [0.5, 0.5, 0.5];
const huggingFaceNames = {
  pixels: 'pixel_values',
  imageEmbeds: 'image_embeds',
  ids: 'input_ids',
  textEmbeds: 'text_embeds',
};
const preprocessor = { size: { height: side, width: side }, image_mean: half, image_std: half };
const files = { vision: 'onnx/vision_model.onnx', text: 'onnx/text_model.onnx' };
const t5 = { tokenizer_class: 'SiglipTokenizer', pad_token: '</s>', model_max_length: 8 };

const huggingFace: ClipLayout = {
  names: huggingFaceNames,
  ids: 'int64',
  files,
  tokenizerConfig: { tokenizer_class: 'CLIPTokenizer', pad_token: '</s>', model_max_length: 8 },
  json: {
    'config.json': { model_type: 'clip', text_config: { max_position_embeddings: 8 } },
    'preprocessor_config.json': preprocessor,
  },
};
const siglip: ClipLayout = {
  names: { ...huggingFaceNames, imageEmbeds: 'pooler_output', textEmbeds: 'pooler_output' },
  ids: 'int64',
  files,
  tokenizerConfig: t5,
  json: {
    'config.json': { model_type: 'siglip', text_config: { max_position_embeddings: 8 } },
    'preprocessor_config.json': preprocessor,
  },
};
const openClip: ClipLayout = {
  names: { pixels: 'image', imageEmbeds: 'embedding', ids: 'text', textEmbeds: 'embedding' },
  ids: 'int32',
  fixed: { width: 77, batch: 1 },
  files: { vision: 'visual/model.onnx', text: 'textual/model.onnx' },
  weights: '5f0c9d1e-7c1b-11ee-b962-0242ac120002',
  tokenizerIn: 'textual',
  tokenizerConfig: { tokenizer_class: 'CLIPTokenizer', pad_token: '</s>' },
  json: {
    'config.json': { embed_dim: 5, vision_cfg: { image_size: side }, text_cfg: { context_length: 77 } },
    'visual/preprocess_cfg.json': { size: side, mode: 'RGB', mean: half, std: half, interpolation: 'bicubic' },
  },
};

interface Published {
  layout: ClipLayout;
  /** The row of ids of a text that has these ids with its end token. */
  row: (ids: number[]) => number[];
  tolerance?: number;
}
const padTo = (width: number, id: number) => (ids: number[]) => [...ids, ...Array<number>(width - ids.length).fill(id)];
const published: Record<string, Published> = {
  'Hugging Face’s CLIP': { layout: huggingFace, row: (ids) => ids },
  'Hugging Face’s CLIP, a mask, float16 and int32 at the borders': {
    layout: { ...huggingFace, floats: 'float16', ids: 'int32', takesMask: true },
    row: (ids) => ids,
    tolerance: 4e-3,
  },
  'jina’s CLIP, whose processor has open_clip’s fields': {
    layout: {
      ...huggingFace,
      json: {
        'config.json': { model_type: 'jina_clip' },
        'preprocessor_config.json': { size: side, mean: half, std: half, resize_mode: 'shortest', fill_color: 0 },
      },
    },
    row: (ids) => ids,
  },
  'SigLIP: padded to its width with </s>': { layout: siglip, row: padTo(8, 1) },
  'SigLIP 2: padded in front with <pad>': {
    layout: {
      ...siglip,
      tokenizerConfig: { tokenizer_class: 'GemmaTokenizer', pad_token: '<pad>', model_max_length: 8 },
    },
    row: (ids) => [...Array<number>(8 - ids.length).fill(0), ...ids],
  },
  'open_clip’s CLIP as immich exports it: padded with 0': { layout: openClip, row: padTo(77, 0) },
  'open_clip’s SigLIP as immich exports it: canonicalised': {
    layout: {
      ...openClip,
      fixed: { width: 64, batch: 1 },
      tokenizerConfig: { tokenizer_class: 'T5Tokenizer', pad_token: '</s>' },
      json: {
        ...openClip.json,
        'config.json': {
          embed_dim: 5,
          text_cfg: {
            context_length: 64,
            hf_tokenizer_name: 'timm/ViT-B-16-SigLIP',
            tokenizer_kwargs: { clean: 'canonicalize' },
            no_causal_mask: true,
          },
        },
      },
    },
    row: padTo(64, 1),
  },
};

let root: string;
let engine: NativeEngine;
let count = 0;
test.before(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'fkinv-clips-'));
  engine = cpuEngine(2);
  await fragments(path.join(root, 'dllm'));
});
test.after.always(async () => {
  await engine.dispose();
  await rm(root, { recursive: true });
});

async function folder(layout: ClipLayout): Promise<string> {
  const at = path.join(root, String(++count));
  await writeClip(at, layout);
  return at;
}

async function load(layout: ClipLayout): Promise<Clip> {
  return Clip.load(engine, new ModelFolder(await folder(layout)));
}

function near(t: ExecutionContext, found: Float32Array, wanted: number[], tolerance: number): void {
  t.is(found.length, wanted.length);
  for (const [i, value] of wanted.entries()) {
    t.true(
      Math.abs((found[i] ?? NaN) - value) <= tolerance * Math.max(1, Math.abs(value)),
      `${found[i]} is not ${value}`,
    );
  }
}

/** Ids of words between spaces, `</s>` behind them. */
const idsOf = (text: string): number[] => [
  ...text
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => (clipTokens.includes(word) ? clipTokens.indexOf(word) : clipTokens.indexOf('<unk>'))),
  clipTokens.indexOf('</s>'),
];

function cosine(a: number[], b: number[]): number {
  const dot = (x: number[], y: number[]): number => x.reduce((sum, v, i) => sum + v * (y[i] ?? NaN), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

for (const [name, { layout, row, tolerance = 1e-5 }] of Object.entries(published)) {
  test(`${name}: embeddings`, async (t) => {
    const clip = await load(layout);
    for (const text of ['a', 'ab x c', '']) {
      near(t, await (await clip.encodeText(text)).read(), textEmbedding(row(idsOf(text))), tolerance);
    }
    const { images } = await preparePicture(picture(), [clip.preprocessor], new PictureMemory(2 ** 24));
    for (const image of images) {
      t.deepEqual([image.width, image.height], [side, side]);
      near(t, await (await clip.encodeImage(image)).read(), imageEmbedding(image.pixelValues), tolerance);
    }
    t.is(images.length, 1);
  });

  test(`${name}: rewards of an inversion`, async (t) => {
    const clip = await folder(layout);
    await using inverter = await Inverter.load({ dllm: path.join(root, 'dllm'), clip });
    const { particles } = await inverter.invert(picture(), {
      particles: 6,
      steps: 3,
      length: 6,
      minLength: 1,
      seed: 4,
    });
    const { preprocessor } = await Clip.load(engine, new ModelFolder(clip));
    const { images } = await preparePicture(picture(), [preprocessor], new PictureMemory(2 ** 24));
    const image = imageEmbedding(images[0]?.pixelValues ?? new Float32Array());
    t.true(new Set(particles.map(({ prompt }) => idsOf(prompt).length)).size > 1, 'texts of several widths');
    for (const { prompt, rewardClip } of particles) {
      const wanted = cosine(textEmbedding(row(idsOf(prompt))), image);
      t.true(Math.abs(rewardClip - wanted) <= Math.max(tolerance, 1e-5), `${prompt}: ${rewardClip} is not ${wanted}`);
    }
  });
}

test('texts are made ready as each library does it', async (t) => {
  const own = async (layout: ClipLayout, text: string): Promise<string[]> =>
    (await load(layout)).tokenIds([text])[0]?.map((id) => clipTokens[id] ?? '') ?? [];
  const ended = (...words: string[]): string[] => [...words, '</s>'];
  // The tokenizers library makes each letter small by itself; Python, which open_clip's tokenizer is written in, does not.
  t.deepEqual(await own(huggingFace, 'Ab ΣΑΣ A.'), ended('ab', '<unk>', '<unk>'));
  t.deepEqual(await own(openClip, 'Ab ΣΑΣ ﬁ it’s'), ended('ab', 'σας', 'fi', "it's"));
  t.deepEqual(await own(siglip, 'A. (B)\t  c!'), ended('a', 'b', 'c'));
  const canonicalised = published['open_clip’s SigLIP as immich exports it: canonicalised']?.layout ?? t.fail();
  t.deepEqual(await own(canonicalised, 'A_b, ａｂ &\u200b'), ended('a', 'b', 'ab', '<unk>'));
});

test('a text that is too long keeps its end', async (t) => {
  const long = 'a '.repeat(100);
  for (const { layout } of Object.values(published)) {
    const clip = await load(layout);
    const [ids = []] = clip.tokenIds([long]);
    t.deepEqual(ids, [...Array<number>(clip.maxWidth - 1).fill(clipTokens.indexOf('a')), clipTokens.indexOf('</s>')]);
    t.true(clip.overflows(long));
  }
});

async function refuses(t: ExecutionContext, layout: ClipLayout, code: string, ...named: string[]): Promise<void> {
  const { message } = await t.throwsAsync(load(layout), { instanceOf: FkinvError, code });
  for (const name of named) t.true(message.includes(name), `"${name}" in "${message}"`);
  t.false(message.includes('\n'));
}

test('a NaFlex SigLIP 2 is refused by its name', async (t) => {
  for (const fields of [{ max_num_patches: 256 }, { image_processor_type: 'Siglip2ImageProcessor' }]) {
    const layout = { ...siglip, json: { ...siglip.json, 'preprocessor_config.json': { ...preprocessor, ...fields } } };
    await refuses(t, layout, 'MODEL_INTERFACE', 'NaFlex', 'preprocessor_config.json', 'siglip2-base-patch16-224');
  }
});

test('what no file says is named, with the files that it could stand in', async (t) => {
  const unlimited = {
    ...huggingFace,
    tokenizerConfig: {},
    json: { ...huggingFace.json, 'config.json': { model_type: 'clip' } },
  };
  const limits = ['tokenizer_config.json', 'model_max_length', 'max_position_embeddings', 'config.json', 'fkinv.json'];
  await refuses(t, unlimited, 'MODEL_INVALID', ...limits, 'maxTokens', 'most tokens of a text');
  const said = { ...unlimited, json: { ...unlimited.json, 'fkinv.json': { maxTokens: 5 } } };
  t.is((await load(said)).maxWidth, 5);

  const unpadded = { ...siglip, tokenizerConfig: { ...t5, pad_token: undefined } };
  const pads = ['tokenizer_config.json', 'pad_token', 'pad_token_id', 'config.json', 'fkinv.json', 'padId'];
  await refuses(t, unpadded, 'MODEL_INVALID', ...pads);
  const padded = await load({ ...unpadded, json: { ...siglip.json, 'fkinv.json': { padId: 3 } } });
  near(t, await (await padded.encodeText('a')).read(), textEmbedding(padTo(8, 3)(idsOf('a'))), 1e-5);
  const own = await load({ ...siglip, json: { ...siglip.json, 'fkinv.json': { padded: false } } });
  near(t, await (await own.encodeText('a')).read(), textEmbedding(idsOf('a')), 1e-5);
});

test('an output that only a SigLIP has as its embedding', async (t) => {
  const layout = { ...huggingFace, names: siglip.names };
  await refuses(t, layout, 'MODEL_INTERFACE', 'image_embeds', 'pooler_output');
});
