// Model folders of random weights: the sizes and forms of public models that the embedded demo has not, and a dLLM small
// enough that the law of its prompts can be enumerated. As a script it makes them all: npx tsx test/onnx/models.ts <folder>
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { normals } from '../helpers/kernels/golden';
import {
  elementTypes,
  float16,
  float32,
  int64,
  node,
  onnxFile,
  type ElementType,
  type Graph,
  type Value,
} from './builder';

/** A dLLM, and what its files say. */
export interface Model {
  graph: Graph;
  /** By id; those beyond have no token. */
  tokens: string[];
  /** Special ones among them. */
  specials: Set<string>;
  /** From this id on they continue a word: no space before them. Default none. */
  firstPiece?: number;
  mask: number;
  eos: number;
  vocab: number;
  /** Positions it takes, those of a prefix among them. */
  maxLength: number;
  /** Contents of fkinv.json. */
  manifest?: object;
}

/** A word of lower-case letters, another for each `i`. */
export function word(i: number): string {
  const letters = i.toString(26).replace(/./g, (digit) => String.fromCharCode(97 + parseInt(digit, 26)));
  return `w${letters}`;
}

/** A byte-level BPE of whole words with a leading space, and of pieces without. */
export function tokenizer({
  tokens,
  specials,
  firstPiece = Infinity,
}: Pick<Model, 'tokens' | 'specials' | 'firstPiece'>): object {
  const rest = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const entries = [...tokens.entries()];
  return {
    version: '1.0',
    added_tokens: entries
      .filter(([, token]) => specials.has(token))
      .map(([id, content]) => ({ id, content, special: true, ...rest })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      ignore_merges: true,
      merges: [],
      vocab: Object.fromEntries(
        entries.map(([id, token]) => [specials.has(token) || id >= firstPiece ? token : `Ġ${token}`, id]),
      ),
    },
  };
}

/** Writes the files of a model. */
export async function writeModel(folder: string, model: Model): Promise<void> {
  await mkdir(folder, { recursive: true });
  const write = (name: string, content: object): Promise<void> =>
    writeFile(path.join(folder, name), JSON.stringify(content, null, 1));
  await writeFile(path.join(folder, 'model.onnx'), onnxFile(model.graph));
  await write('tokenizer.json', tokenizer(model));
  await write('tokenizer_config.json', {
    eos_token: model.tokens[model.eos],
    mask_token: model.tokens[model.mask],
    clean_up_tokenization_spaces: false,
  });
  await write('config.json', {
    model_type: 'masked-diffusion',
    vocab_size: model.vocab,
    mask_token_id: model.mask,
    eos_token_id: model.eos,
    max_position_embeddings: model.maxLength,
  });
  if (model.manifest !== undefined) await write('fkinv.json', model.manifest);
}

const ids: Value = { name: 'input_ids', type: 'int64', dims: ['states', 'positions'] };

function logits(vocab: number, type: ElementType = 'float32'): Value {
  return { name: 'logits', type, dims: ['states', 'positions', vocab] };
}

/** Nodes that give `places` [positions]: 0, 1, 2 … */
const places = [
  node('Shape', 'input_ids', 'shape'),
  node('Gather', 'shape one', 'width'),
  node('Range', 'zero width one', 'places'),
];
const placesConstants = { zero: int64([], [0]), one: int64([], [1]) };

interface WideSizes {
  vocab: number;
  /** Positions it takes. */
  maxLength: number;
  type: ElementType;
  /** Columns that must never be drawn, which this graph finds likely. */
  temptations: number[];
  seed: number;
}

/**
 * Logits of a tanh layer over token and position embeddings and their mean over the positions, against the token
 * embeddings; weights in float16.
 */
export function wideGraph({ vocab, maxLength, type, temptations, seed }: WideSizes): Graph {
  const hidden = 12;
  const bias = new Float32Array(vocab);
  for (const id of temptations) bias[id] = 20;
  const scaled = (n: number, scale: number, of: number): Float32Array => normals(n, of).map((value) => value * scale);
  return {
    nodes: [
      ...places,
      ...['token', 'position', 'dense', 'bias'].map((name) =>
        node('Cast', `${name}_half`, name, { to: elementTypes.float32 }),
      ),
      node('Gather', 'token input_ids', 'words'),
      node('Gather', 'position places', 'where'),
      node('Add', 'words where', 'each'),
      node('ReduceMean', 'each', 'mean', { axes: [1], keepdims: 1 }),
      node('Add', 'each mean', 'mixed'),
      node('MatMul', 'mixed dense', 'layer'),
      node('Tanh', 'layer', 'hidden'),
      node('Transpose', 'token', 'head', { perm: [1, 0] }),
      node('MatMul', 'hidden head', 'scores'),
      node('Add', 'scores bias', 'biased'),
      node('Cast', 'biased', 'logits', { to: elementTypes[type] }),
    ],
    inputs: [ids],
    output: logits(vocab, type),
    constants: {
      ...placesConstants,
      token_half: float16([vocab, hidden], normals(vocab * hidden, seed)),
      position_half: float16([maxLength, hidden], normals(maxLength * hidden, seed + 1)),
      dense_half: float16([hidden, hidden], scaled(hidden * hidden, 0.6, seed + 2)),
      bias_half: float16([vocab], bias),
    },
  };
}

const longest = 77; // of OpenAI's CLIP

/** V = 50257 as MDLM's tokenizer has, logits in float16 if nothing else is asked for. */
export function wideF16(folder: string, type: ElementType = 'float16'): Promise<void> {
  const vocab = 50257;
  const [eos, mask] = [vocab - 2, vocab - 1];
  const tokens = [...Array.from({ length: eos }, (_, i) => word(i)), '<eos>', '<mask>'];
  const graph = wideGraph({ vocab, maxLength: longest, type, temptations: [mask], seed: 11 });
  return writeModel(folder, {
    graph,
    tokens,
    specials: new Set(['<eos>', '<mask>']),
    mask,
    eos,
    vocab,
    maxLength: longest,
  });
}

/**
 * V = 126464 with LLaDA's ids, columns beyond its tokenizer's 126349 tokens, logits in bfloat16 if nothing else is asked
 * for.
 */
export function lladaVocab(folder: string, type: ElementType = 'bfloat16'): Promise<void> {
  const vocab = 126464;
  const [eos, mask, size] = [126081, 126336, 126349];
  const tokens = Array.from({ length: size }, (_, id) => {
    if (id < eos) return word(id);
    return id === eos ? '<eos>' : id === mask ? '<mask>' : `<reserved_${id}>`;
  });
  const temptations = Array.from({ length: vocab - eos - 1 }, (_, i) => eos + 1 + i);
  const graph = wideGraph({ vocab, maxLength: longest, type, temptations, seed: 12 });
  return writeModel(folder, {
    graph,
    tokens,
    specials: new Set(tokens.slice(eos)),
    mask,
    eos,
    vocab,
    maxLength: longest,
  });
}

/** What {@link shifted} predicts at prompt position n is `shiftedWords[n]`. */
export const shiftedWords = Array.from({ length: 7 }, (_, i) => word(i));

/**
 * Row i of its logits predicts position i + 1, the word `shiftedWords[i]` by far; before the prompt it takes <bos>. Read
 * without the shift, the prompt begins with `shiftedWords[1]`.
 */
export function shifted(folder: string, logitShift = 1): Promise<void> {
  const tokens = ['<eos>', '<mask>', '<bos>', ...shiftedWords];
  const vocab = tokens.length;
  const rows = shiftedWords.flatMap((_, i) => tokens.map((_, id) => (id === 3 + i ? 12 : 0)));
  const graph = {
    nodes: [
      ...places,
      node('Gather', 'row places', 'expected'),
      node('Gather', 'token input_ids', 'noise'),
      node('Add', 'noise expected', 'logits'),
    ],
    inputs: [ids],
    output: logits(vocab),
    constants: {
      ...placesConstants,
      row: float32([shiftedWords.length, vocab], rows),
      token: float32([vocab, vocab], normals(vocab * vocab, 13)),
    },
  };
  return writeModel(folder, {
    graph,
    tokens,
    specials: new Set(['<eos>', '<mask>', '<bos>']),
    mask: 1,
    eos: 0,
    vocab,
    maxLength: shiftedWords.length,
    manifest: { logitShift, prefix: '<bos>' },
  });
}

/** A dLLM whose logits are a table. */
export interface Tabular {
  tokens: string[];
  /** N, the one length it takes. */
  length: number;
  mask: number;
  eos: number;
  /** Logits [states, N, V]; the state's index has its tokens for digits in base V. */
  table: Float32Array;
}

/** The words are of the CLIP in test/fixtures/models. */
export function tabularModel(): Tabular {
  const tokens = ['<eos>', '<mask>', 'red', 'green', 'sky'];
  const [length, vocab] = [3, tokens.length];
  const table = normals(vocab ** length * length * vocab, 14).map((z) => 1.3 * z);
  return { tokens, length, mask: 1, eos: 0, table };
}

/** {@link tabularModel} in a folder. */
export function tabular(folder: string): Promise<void> {
  const { tokens, length, mask, eos, table } = tabularModel();
  const vocab = tokens.length;
  const digits = Array.from({ length }, (_, i) => vocab ** (length - 1 - i));
  const graph = {
    nodes: [node('MatMul', 'input_ids digits', 'state'), node('Gather', 'table state', 'logits')],
    inputs: [ids],
    output: logits(vocab),
    constants: { digits: int64([length], digits), table: float32([vocab ** length, length, vocab], table) },
  };
  return writeModel(folder, {
    graph,
    tokens,
    specials: new Set(['<eos>', '<mask>']),
    mask,
    eos,
    vocab,
    maxLength: length,
  });
}

/** Words and pieces of words, of which "abc" is made in four ways: by id, from 2 on, with the spaces before them. */
export const fragmentTokens = [' a', ' ab', ' abc', ' c', ' x', 'a', 'b', 'c', 'bc'];

/** Random logits by token and position, all likely: every way to put {@link fragmentTokens} together is drawn. */
export function fragments(folder: string): Promise<void> {
  const maxLength = 12;
  const tokens = ['<eos>', '<mask>', ...fragmentTokens.map((token) => token.trim())];
  const vocab = tokens.length;
  const graph = {
    nodes: [
      ...places,
      node('Gather', 'token input_ids', 'each'),
      node('Gather', 'position places', 'where'),
      node('ReduceMean', 'each', 'mean', { axes: [1], keepdims: 1 }),
      node('Add', 'mean where', 'logits'),
    ],
    inputs: [ids],
    output: logits(vocab),
    constants: {
      ...placesConstants,
      token: float32([vocab, vocab], normals(vocab * vocab, 15)),
      position: float32([maxLength, vocab], normals(maxLength * vocab, 16)),
    },
  };
  const specials = new Set(['<eos>', '<mask>']);
  const firstPiece = 2 + fragmentTokens.findIndex((token) => !token.startsWith(' '));
  return writeModel(folder, { graph, tokens, specials, firstPiece, mask: 1, eos: 0, vocab, maxLength });
}

if (require.main === module) {
  const [folder = '.'] = process.argv.slice(2);
  const models = { 'wide-f16': wideF16, 'llada-vocab': lladaVocab, shifted, tabular, fragments };
  void Promise.all(Object.entries(models).map(([name, make]) => make(path.join(folder, name))));
}
