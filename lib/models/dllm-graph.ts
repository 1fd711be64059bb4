import type { NativeInput, NativeTensorInfo } from '../native/addon';
import type { Graph, Wanted } from './graph';
import { manifestName, type DllmManifest } from './manifest';

// What a dLLM's graph takes and gives: docs/manifest.md has it in words.

type Tensors = DllmManifest['tensors'];

/** Names that exports give the inputs which a manifest need not name: each is looked for in this order. */
const usualNames = {
  attentionMask: ['attention_mask'],
  positionIds: ['position_ids'],
  timestep: ['timestep', 'timesteps'],
  rows: ['rows'],
} as const;

const integers = ['int64', 'int32'] as const;
const floats = ['float32', 'float16'] as const;

/** A dLLM's graph, checked. */
export interface DllmInterface {
  /** Names of its tensors; empty where it has none. */
  tensors: Tensors;
  /** Where its attention mask is a matrix: positions of a block that sees itself and those before it; 0 where all see all. */
  attentionBlock: number;
  /** Columns of the logits, −1 where they are open. */
  columns: number;
  /** Positions of a row, where the graph fixes them. */
  positions: number | undefined;
  /** Prompt positions, where the graph fixes the rows whose logits it gives. */
  rows: number | undefined;
}

/** Checks the tensors of `model`, whose input `condition` ('' for none) takes `conditionShape`. Throws `MODEL_INTERFACE`. */
export function checkDllmGraph(
  model: Graph,
  manifest: Pick<DllmManifest, 'tensors' | 'attention' | 'defaults'>,
  condition: string,
  conditionShape: number[],
): DllmInterface {
  const tensors = namesOf(model, manifest.tensors, condition);
  const { ids, attentionMask, positionIds, timestep, rows, logits } = tensors;
  const isMatrix = infoOf(model, attentionMask)?.shape.length === 4;
  const perPosition = ['states', 'positions'] as const;
  const wanted: Wanted[] = [
    { name: ids, types: integers, axes: perPosition },
    isMatrix
      ? { name: attentionMask, types: floats, axes: ['states', 1, 'positions', 'positions'] }
      : { name: attentionMask, types: [...integers, ...floats], axes: perPosition },
    { name: positionIds, types: integers, axes: perPosition },
    { name: timestep, types: [...floats, ...integers], axes: ['states'] },
    { name: rows, types: integers, axes: ['prompt positions'], isShared: true },
    { name: condition, types: floats, axes: ['states', ...conditionShape] },
  ];
  model.expectInputs(
    wanted.filter(({ name }) => name !== ''),
    `which nothing here can give: an attention mask, position ids, a time or rows are named in tensors of ${manifestName}, ` +
      'an image in its condition',
  );
  const given = rows === '' ? 'positions' : 'prompt positions';
  const output = model.expectOutput({
    name: logits,
    types: ['bfloat16', 'float16', 'float32'],
    axes: ['states', given, 'vocab'],
  });
  const ofMask = infoOf(model, attentionMask)?.shape ?? [];
  const ofRow = [axisOf(model, ids, 1), axisOf(model, positionIds, 1), ...ofMask.slice(isMatrix ? 2 : 1)];
  const ofLogits = output.shape[1] ?? -1;
  return {
    tensors,
    attentionBlock: blockOf(model, manifest, isMatrix),
    columns: output.shape[2] ?? -1,
    positions: agreed(model, 'positions', rows === '' ? [...ofRow, ofLogits] : ofRow),
    rows: rows === '' ? undefined : agreed(model, 'rows', [axisOf(model, rows, 0), ofLogits]),
  };
}

/** The names that the manifest gives, and the usual ones where it gives none and the graph has them. */
function namesOf(model: Graph, given: Tensors, condition: string): Tensors {
  const taken = [...Object.values(given), condition];
  const found = Object.entries(usualNames).map(([key, usual]) => [
    key,
    given[key as keyof Tensors] || (usual.find((name) => model.takes(name) && !taken.includes(name)) ?? ''),
  ]);
  return { ...given, ...(Object.fromEntries(found) as Partial<Tensors>) };
}

function infoOf({ session }: Graph, input: string): NativeTensorInfo | undefined {
  return session.inputs.find(({ name }) => name === input);
}

function axisOf(model: Graph, input: string, axis: number): number {
  return infoOf(model, input)?.shape[axis] ?? -1;
}

/** The one extent that axes have which the graph fixes; undefined where it leaves all of them open. */
function agreed(model: Graph, what: string, extents: number[]): number | undefined {
  const fixed = new Set(extents);
  fixed.delete(-1);
  if (fixed.size > 1) model.refuse(`fixes its ${what} at ${[...fixed].join(' and at ')}: nothing is both`);
  return [...fixed][0];
}

function blockOf(
  model: Graph,
  { attention, defaults, tensors }: Pick<DllmManifest, 'attention' | 'defaults' | 'tensors'>,
  isMatrix: boolean,
): number {
  if (attention === 'full') return 0;
  if (isMatrix) return defaults.blockLength ?? 0;
  const mask = tensors.attentionMask || usualNames.attentionMask[0];
  return model.refuse(
    `has no input "${mask}" [states, 1, positions, positions], by which attention "block" of ${manifestName} is given`,
  );
}

/**
 * What the inputs of a row hold that are the same for every row of `width` positions, and the `rows` whose logits are wanted, as
 * the engine gives them too (cpp/particles/states.cpp).
 */
export function constantInputs(
  { session }: Graph,
  { tensors, attentionBlock }: DllmInterface,
  width: number,
  rows: number[],
): NativeInput[] {
  const { attentionMask, positionIds, timestep } = tensors;
  const places = Array.from({ length: width }, (_, i) => i);
  const valuesOf = (name: string): { values: number[]; shape: number[] } => {
    if (name === attentionMask) {
      const rank = session.inputs.find((input) => input.name === name)?.shape.length;
      if (rank !== 4) return { values: places.map(() => 1), shape: [1, width] };
      const block = (i: number): number => (attentionBlock === 0 ? 0 : Math.floor(i / attentionBlock));
      const values = places.flatMap((i) => places.map((j) => (block(j) > block(i) ? masked : 0)));
      return { values, shape: [1, 1, width, width] };
    }
    if (name === positionIds) return { values: places, shape: [1, width] };
    return name === timestep ? { values: [0], shape: [1] } : { values: rows, shape: [rows.length] };
  };
  return [attentionMask, positionIds, timestep, tensors.rows]
    .filter((name) => name !== '')
    .map((name) => {
      const type = session.inputs.find((input) => input.name === name)?.type ?? '';
      const { values, shape } = valuesOf(name);
      const data = type.startsWith('int') ? BigInt64Array.from(values, BigInt) : Float32Array.from(values);
      return { name, data, rowShape: shape, isShared: true };
    });
}

/** Far below any score, and finite in float16 too. */
const masked = -65504;
