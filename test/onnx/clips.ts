// Small CLIPs in the layouts that public exports have. The embedding of a text is the mean of its ids' rows, each by the weight of its
// place, so that padding shows; that of a picture is made of the means of its channels.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { normals } from '../helpers/kernels/golden';
import { elementTypes, float16, float32, int64, node, onnxFile, type Graph, type Tensor } from './builder';

/** E, and the side of a picture. */
const size = 5;
export const side = 8;
export const clipTokens = [
  '<pad>',
  '</s>',
  '<unk>',
  '<bos>',
  'a',
  'ab',
  'abc',
  'b',
  'bc',
  'c',
  'x',
  'fi',
  'σας',
  "it's",
];
const mostTokens = 77;

const table = [...normals(clipTokens.length * size, 31)];
const placeWeights = Array.from({ length: mostTokens }, (_, place) => 1 + place / 4);
const projection = [...normals(3 * size, 32)];

/** What the towers take and give. */
export interface Names {
  pixels: string;
  imageEmbeds: string;
  ids: string;
  textEmbeds: string;
}

/** How a CLIP is laid out. */
export interface ClipLayout {
  names: Names;
  floats?: 'float16';
  ids: 'int32' | 'int64';
  takesMask?: true;
  /** Tokens of a text, and pictures, where the graph fixes them. */
  fixed?: { width: number; batch: number };
  /** Folders of the towers and names of their graphs. */
  files: { vision: string; text: string };
  /** A file beside a graph that has its weights. */
  weights?: string;
  tokenizerIn?: string;
  tokenizerConfig: object;
  /** Contents of further files. */
  json: Record<string, object>;
}

/** Makes it. */
export async function writeClip(folder: string, layout: ClipLayout): Promise<void> {
  const { files, weights, tokenizerIn = '', tokenizerConfig, json } = layout;
  const all = {
    ...json,
    [path.join(tokenizerIn, 'tokenizer.json')]: tokenizer,
    [path.join(tokenizerIn, 'tokenizer_config.json')]: tokenizerConfig,
  };
  for (const [name, content] of Object.entries(all)) await write(path.join(folder, name), JSON.stringify(content));
  for (const [file, graph, large] of [
    [files.vision, visionGraph(layout), 'projection'],
    [files.text, textGraph(layout), 'table'],
  ] as const) {
    const tensor = graph.constants[large];
    if (weights !== undefined && tensor !== undefined) {
      await write(path.join(folder, path.dirname(file), weights), tensor.data);
      graph.constants[large] = { ...tensor, location: weights };
    }
    await write(path.join(folder, file), onnxFile(graph));
  }
}

async function write(file: string, content: string | Uint8Array): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, content);
}

function floatsOf({ floats }: ClipLayout, dims: number[], values: number[]): Tensor {
  return floats === undefined ? float32(dims, values) : float16(dims, values);
}

const toFloat32 = { to: elementTypes.float32 };

function textGraph(layout: ClipLayout): Graph {
  const { names, ids, takesMask, fixed, floats: type = 'float32' } = layout;
  const dims = fixed === undefined ? ['texts', 'width'] : [fixed.batch, fixed.width];
  const masked = [
    node('Cast', 'attention_mask', 'seen', toFloat32),
    node('Unsqueeze', 'seen last', 'column'),
    node('Mul', 'placed column', 'kept'),
  ];
  return {
    nodes: [
      node('Shape', names.ids, 'shape'),
      node('Gather', 'shape one', 'width'),
      node('Range', 'zero width one', 'places'),
      node('Gather', 'weights places', 'weight'),
      node('Gather', `table ${names.ids}`, 'rows'),
      node('Cast', 'rows', 'each', toFloat32),
      node('Mul', 'each weight', 'placed'),
      ...(takesMask ? masked : []),
      node('ReduceMean', takesMask ? 'kept' : 'placed', 'mean', { axes: [1], keepdims: 0 }),
      node('Cast', 'mean', names.textEmbeds, { to: elementTypes[type] }),
    ],
    inputs: [names.ids, ...(takesMask ? ['attention_mask'] : [])].map((name) => ({ name, type: ids, dims })),
    output: { name: names.textEmbeds, type, dims: [dims[0] ?? 1, size] },
    constants: {
      zero: int64([], [0]),
      one: int64([], [1]),
      last: int64([1], [2]),
      weights: float32([mostTokens, 1], placeWeights),
      table: floatsOf(layout, [clipTokens.length, size], table),
    },
  };
}

function visionGraph(layout: ClipLayout): Graph {
  const { names, fixed, floats: type = 'float32' } = layout;
  const batch = fixed?.batch ?? 'images';
  return {
    nodes: [
      node('Cast', names.pixels, 'pixels', toFloat32),
      node('ReduceMean', 'pixels', 'means', { axes: [2, 3], keepdims: 0 }),
      node('Cast', 'projection', 'wide', toFloat32),
      node('MatMul', 'means wide', 'embedding_of_all'),
      node('Cast', 'embedding_of_all', names.imageEmbeds, { to: elementTypes[type] }),
    ],
    inputs: [{ name: names.pixels, type, dims: [batch, 3, side, side] }],
    output: { name: names.imageEmbeds, type, dims: [batch, size] },
    constants: { projection: floatsOf(layout, [3, size], projection) },
  };
}

/** What the text tower gives, of a row of ids and, where it takes one, its mask. */
export function textEmbedding(ids: readonly number[], mask: readonly number[] = ids.map(() => 1)): number[] {
  const at = (k: number, i: number, id: number): number =>
    (mask[i] ?? 0) * (placeWeights[i] ?? NaN) * (table[id * size + k] ?? NaN);
  return Array.from({ length: size }, (_, k) => ids.reduce((sum, id, i) => sum + at(k, i, id), 0) / ids.length);
}

/** What the image tower gives, of the pixels' values. */
export function imageEmbedding(pixelValues: Float32Array): number[] {
  const plane = side * side;
  const means = [0, 1, 2].map(
    (c) => pixelValues.subarray(c * plane, (c + 1) * plane).reduce((a, b) => a + b, 0) / plane,
  );
  return Array.from({ length: size }, (_, k) =>
    means.reduce((sum, mean, c) => sum + mean * (projection[c * size + k] ?? NaN), 0),
  );
}

const idOf = Object.fromEntries(clipTokens.map((token, id) => [token, id]));
const isSpecial = (token: string): boolean => token.startsWith('<');

/** Words between spaces, in small letters, and `</s>` behind them. */
const tokenizer = {
  version: '1.0',
  added_tokens: clipTokens.filter(isSpecial).map((content) => ({
    id: idOf[content],
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  })),
  normalizer: { type: 'Sequence', normalizers: [{ type: 'Lowercase' }] },
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
    pair: [],
    special_tokens: { '</s>': { id: '</s>', ids: [idOf['</s>']], tokens: ['</s>'] } },
  },
  decoder: null,
  model: {
    type: 'WordPiece',
    vocab: idOf,
    unk_token: '<unk>',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
  },
};
