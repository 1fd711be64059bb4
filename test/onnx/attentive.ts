// A small dLLM with attention, in the layouts that public exports have: what a graph takes and gives beside the ids, and in which types.
import { normals } from '../helpers/kernels/golden';
import {
  elementTypes,
  float32,
  int64,
  node,
  type ElementType,
  type Graph,
  type Node,
  type Tensor,
  type Value,
} from './builder';
import { writeModel, type Model } from './models';

/** Positions of a block, where attention is by blocks. */
export const attentionBlock = 4;

/** What the graph takes and gives; by default ids of int64, and logits of float32 of every position. */
export interface Layout {
  /** Type of the ids, the position ids and the rows. */
  integers?: 'int64' | 'int32';
  logits?: 'float32' | 'float16';
  /** The input `attention_mask` [states, positions]. */
  mask?: ElementType;
  /** The input `attention_mask` [1 or states, 1, positions, positions], which is added to the scores. */
  matrix?: 'float32' | 'float16';
  /** Blocks see themselves and those before them: made inside the graph. */
  hasBlocks?: boolean;
  /** The input `position_ids`. */
  takesPositions?: boolean;
  /** The input `timesteps`. */
  time?: ElementType;
  /** The input `rows`: of these rows the graph gives logits. */
  takesRows?: boolean;
  /** The input `image_embeds` [states, 4]. */
  condition?: 'float32' | 'float16';
  /** Extents of the axes of states, positions and rows; open by default. */
  states?: number;
  positions?: number;
  rows?: number;
}

export const attentiveTokens = ['<eos>', '<mask>', 'red', 'green', 'blue', 'cat', 'dog', 'tree', 'sky'];
const hidden = 8;

/** V, and the most positions of a row. */
interface Sizes {
  vocab: number;
  longest: number;
}
const small: Sizes = { vocab: attentiveTokens.length, longest: 96 };

/** Numbers in a type to float32. */
const toFloat = (from: string, to: string): Node => node('Cast', from, to, { to: elementTypes.float32 });

/**
 * One layer of attention over token and position embeddings. Whatever is 1 in a mask of positions, 0 in a matrix and 0 for a time
 * alters nothing.
 */
export function attentiveGraph(layout: Layout, sizes = small): Graph {
  const { integers = 'int64', logits = 'float32', states = 'states', positions = 'positions', rows = 'rows' } = layout;
  const inputs: Value[] = [{ name: 'input_ids', type: integers, dims: [states, positions] }];
  const nodes: Node[] = [node('Gather', 'token input_ids', 'words')];
  if (layout.takesPositions === true) {
    inputs.push({ name: 'position_ids', type: integers, dims: [states, positions] });
    nodes.push(node('Gather', 'position position_ids', 'where'));
  } else {
    nodes.push(...places, node('Gather', 'position places', 'where'));
  }
  nodes.push(node('Add', 'words where', 'placed'));
  let x = 'placed';
  if (layout.condition !== undefined) {
    inputs.push({ name: 'image_embeds', type: layout.condition, dims: [states, 4] });
    nodes.push(
      toFloat('image_embeds', 'image'),
      node('MatMul', 'image project', 'seen'),
      node('Unsqueeze', 'seen one', 'everywhere'),
      node('Add', `${x} everywhere`, 'conditioned'),
    );
    x = 'conditioned';
  }
  if (layout.time !== undefined) {
    inputs.push({ name: 'timesteps', type: layout.time, dims: [states] });
    nodes.push(
      toFloat('timesteps', 'time'),
      node('Unsqueeze', 'time one_two', 'times'),
      node('Add', `${x} times`, 'timed'),
    );
    x = 'timed';
  }
  nodes.push(
    node('MatMul', `${x} query`, 'queries'),
    node('MatMul', `${x} key`, 'keys'),
    node('Transpose', 'keys', 'turned', { perm: [0, 2, 1] }),
    node('MatMul', 'queries turned', 'scores'),
  );
  let scores = 'scores';
  const add = (what: string): void => {
    nodes.push(node('Add', `${scores} ${what}`, `${scores}_`));
    scores = `${scores}_`;
  };
  if (layout.mask !== undefined) {
    inputs.push({ name: 'attention_mask', type: layout.mask, dims: [states, positions] });
    nodes.push(
      toFloat('attention_mask', 'kept'),
      node('Sub', 'unit kept', 'left_out'),
      node('Mul', 'left_out far', 'added'),
      node('Unsqueeze', 'added one', 'added_to_keys'),
    );
    add('added_to_keys');
  }
  if (layout.matrix !== undefined) {
    inputs.push({ name: 'attention_mask', type: layout.matrix, dims: [states, 1, positions, positions] });
    nodes.push(toFloat('attention_mask', 'matrices'), node('Squeeze', 'matrices one', 'matrix'));
    add('matrix');
  }
  if (layout.hasBlocks === true) {
    nodes.push(
      node('Div', 'places block', 'blocks'),
      node('Unsqueeze', 'blocks zero_axis', 'of_keys'),
      node('Unsqueeze', 'blocks one', 'of_queries'),
      node('Greater', 'of_keys of_queries', 'later'),
      toFloat('later', 'is_later'),
      node('Mul', 'is_later far', 'of_blocks'),
    );
    add('of_blocks');
  }
  nodes.push(
    node('Softmax', scores, 'weights', { axis: -1 }),
    node('MatMul', `weights ${x}`, 'attended'),
    node('Add', `attended ${x}`, 'layer'),
    node('Tanh', 'layer', 'all'),
  );
  let wanted = 'all';
  if (layout.takesRows === true) {
    inputs.push({ name: 'rows', type: integers, dims: [rows] });
    nodes.push(node('Gather', 'all rows', 'wanted', { axis: 1 }));
    wanted = 'wanted';
  }
  nodes.push(node('MatMul', `${wanted} head`, 'raw'), node('Cast', 'raw', 'logits', { to: elementTypes[logits] }));
  const given = layout.takesRows === true ? rows : positions;
  const dims = [states, given, sizes.vocab];
  return { nodes, inputs, output: { name: 'logits', type: logits, dims }, constants: constantsOf(sizes) };
}

/** Nodes that give `places` [positions]: 0, 1, 2 … */
const places = [
  node('Shape', 'input_ids', 'shape'),
  node('Gather', 'shape at_one', 'width'),
  node('Range', 'from_zero width at_one', 'places'),
];

const matrix = (rows: number, columns: number, seed: number, scale = 1): Tensor =>
  float32(
    [rows, columns],
    normals(rows * columns, seed).map((value) => value * scale),
  );
function constantsOf({ vocab, longest }: Sizes): Graph['constants'] {
  return {
    from_zero: int64([], [0]),
    at_one: int64([], [1]),
    zero_axis: int64([1], [0]),
    one: int64([1], [1]),
    one_two: int64([2], [1, 2]),
    block: int64([], [attentionBlock]),
    unit: float32([], [1]),
    far: float32([], [-1e9]),
    token: matrix(vocab, hidden, 31),
    position: matrix(longest, hidden, 32),
    query: matrix(hidden, hidden, 33, 0.7),
    key: matrix(hidden, hidden, 34, 0.7),
    head: matrix(hidden, vocab, 35, 1.2),
    project: matrix(4, hidden, 36, 0.5),
  };
}

/** The model with its files; `manifest` is its fkinv.json. */
export function attentive(folder: string, layout: Layout, manifest: object = {}): Promise<void> {
  const model: Model = {
    graph: attentiveGraph(layout),
    tokens: attentiveTokens,
    specials: new Set(['<eos>', '<mask>']),
    mask: 1,
    eos: 0,
    vocab: small.vocab,
    maxLength: small.longest,
    manifest,
  };
  return writeModel(folder, model);
}
