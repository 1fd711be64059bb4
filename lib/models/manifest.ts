import path from 'node:path';
import { z } from 'zod';
import type { GraphFile } from './graph-file';
import { knownModels } from './known';
import type { ModelFolder } from './model-folder';
import { hintsPlace, instructionPlace } from './places';
import { invertSchema, type InvertOptions } from '../options';
import { integer, validate } from '../util/validate';

// fkinv.json stands beside a model's files and says what no Hugging Face file says; docs/manifest.md describes it in words.

/** The name of the manifest's file. */
export const manifestName = 'fkinv.json';

/** No model has more tokens; a file that claims more is broken. */
export const maxVocab = 2 ** 24;

/** Id of a token. */
export const tokenId = integer(0, maxVocab - 1);

/** ONNX Runtime's GraphOptimizationLevel, by name. */
const optimizationLevels = { disabled: 0, basic: 1, extended: 2, all: 99 } as const;

const optimization = z
  .enum(['disabled', 'basic', 'extended', 'all'], { error: 'must be "disabled", "basic", "extended" or "all"' })
  .transform((level) => optimizationLevels[level]);

const name = z.string().min(1, 'must not be empty');
const text = z.string();

/** A file in the folder. */
export const fileName = name.refine(
  (file) => !path.isAbsolute(file) && !file.split(/[/\\]/).includes('..'),
  'must be a file in the folder',
);

/** Keys that a manifest of either kind may have. */
const common = {
  /** SHA-256 of the folder's files by their names, external data included; they are checked when the folder is loaded. */
  files: z
    .record(fileName, z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hexadecimal'))
    .default({}),
  optimization: optimization.prefault('all'),
  /** What people call the weights, such as `float16`; nothing depends on it. */
  weightType: text.optional(),
  /** The licence, as people are shown it; nothing depends on it. */
  licence: text.optional(),
  /** Inputs and expected outputs, by which `fkinv models` checks the graphs: see parity.ts. */
  parity: fileName.optional(),
};
type Common = z.output<z.ZodObject<typeof common>>;

/** Variants of the graphs by name, with what each has of its own. */
const variantsOf = <Graphs extends z.ZodRawShape>(graphs: Graphs) =>
  z
    .record(name, z.strictObject({ ...graphs, optimization: optimization.optional(), weightType: text.optional() }))
    .default({});

/** Names of the dLLM graph's tensors; empty where the manifest names none (dllm-graph.ts knows the usual names). */
const tensors = z
  .strictObject({
    ids: name.default('input_ids'),
    attentionMask: name.default(''),
    positionIds: name.default(''),
    timestep: name.default(''),
    rows: name.default(''),
    logits: name.default('logits'),
  })
  .refine(({ ids, attentionMask, positionIds, timestep, rows }) => {
    const inputs = [ids, attentionMask, positionIds, timestep, rows].filter((input) => input !== '');
    return new Set(inputs).size === inputs.length;
  }, 'two inputs have the same name');

/** A text, which is encoded without special tokens, or token ids. */
const textOrIds = z.union([text, z.array(tokenId)], { error: 'must be a text or a list of token ids' }).default([]);

/** The sentence in `prefix`, `suffix` or `condition.prefix.after` that asks for the prompt, and the one that tells of hints. */
const instruction = z.strictObject({
  text,
  hints: text
    .refine((sentence) => sentence.includes(hintsPlace), `must have a place for them, ${hintsPlace}`)
    .optional(),
});

const ownGraph = fileName.refine((file) => file !== 'clip', 'must be a graph file');

/** The CLIP that a dLLM was trained with: its name, and by what it is told from others, its embedding of a text. */
const clipProbe = z.strictObject({
  name,
  text: name,
  embedding: z.union([fileName, z.array(z.number()).min(1, 'must not be empty')], {
    error: 'must be a list of numbers or a JSON file of one in the folder',
  }),
});
export type ClipProbe = z.output<typeof clipProbe>;

/**
 * How a dLLM is given the image: not at all; as CLIP's embedding of it, in an input; or as what a graph in its own
 * folder gives, in an input or, where that is ids, in the prefix: `before`, each id + `offset`, `after`.
 */
const condition = z.union(
  [
    z.literal('none'),
    z.strictObject({ input: name, from: z.literal('clip'), clip: clipProbe.optional() }),
    z.strictObject({ input: name, from: ownGraph, output: name }),
    z.strictObject({
      from: ownGraph,
      output: name,
      prefix: z.strictObject({ before: textOrIds, offset: tokenId.default(0), after: textOrIds }),
    }),
  ],
  {
    error:
      'must be "none", { input, from: "clip", clip }, { input, from, output } or ' +
      '{ from, output, prefix: { before, offset, after } }',
  },
);
/** Conditions that a graph in the dLLM's own folder gives. */
export type TowerCondition = Extract<z.output<typeof condition>, { output: string }>;

/** Options that a manifest may give defaults for: how the model is sampled, but nothing of what an inversion is for. */
const samplerOptions = {
  length: true,
  minLength: true,
  particles: true,
  steps: true,
  order: true,
  blockLength: true,
  guesses: true,
  resampling: true,
  essThreshold: true,
  temperature: true,
  topK: true,
  topP: true,
  hints: true,
} as const;
export type SamplerDefaults = Pick<InvertOptions, keyof typeof samplerOptions>;

const samplerSchema = invertSchema.pick(samplerOptions);

/**
 * A manifest's defaults, held to the options' own ranges. What is not given is not filled in here: the package's defaults come
 * later.
 */
const defaults = z.custom<SamplerDefaults>().superRefine((given, context) => {
  const { issues = [] } = samplerSchema.safeParse(given).error ?? {};
  for (const { path, message } of issues) context.addIssue({ code: 'custom', path, message, continue: false });
});

const choice = <Name extends string>(...names: [Name, ...Name[]]) =>
  z.enum(names, { error: `must be ${names.map((each) => `"${each}"`).join(' or ')}` });

const dllmKeys = z.strictObject({
  ...common,
  graph: fileName.optional(),
  variants: variantsOf({ graph: fileName }),
  tensors: tensors.prefault({}),
  maskId: tokenId.optional(),
  stopIds: z.array(tokenId).min(1, 'must not be empty').optional(),
  suppressedIds: z.array(tokenId).default([]),
  maxPositions: integer(1, 2 ** 31 - 1).optional(),
  logitShift: z.union([z.literal(0), z.literal(1)], { error: 'must be 0 or 1' }).default(0),
  prefix: textOrIds,
  suffix: textOrIds,
  instruction: instruction.optional(),
  condition: condition.optional(),
  /** Which positions one sees, where the graph takes a matrix as attention mask: all, or those of its block and before it. */
  attention: choice('full', 'block').default('full'),
  /** Where blocks of the sampler are counted from: the first position of the prompt, or that of the row. */
  blockGrid: choice('prompt', 'row').default('prompt'),
  defaults: defaults.default({}),
  maxBatch: integer(1, 2 ** 31 - 1).optional(),
});

type DllmKeys = z.output<typeof dllmKeys>;

/** `fkinv.json` of a dLLM. */
export const dllmManifest = dllmKeys.superRefine((manifest, context) => {
  checkInstruction(manifest, context);
  checkBlocks(manifest, context);
});

function checkInstruction({ prefix, suffix, condition, instruction }: DllmKeys, context: z.RefinementCtx): void {
  const ofImage = typeof condition === 'object' && 'prefix' in condition ? [condition.prefix.after] : [];
  const texts = [prefix, suffix, ...ofImage].filter((given) => typeof given === 'string');
  const hasPlace = texts.some((given) => given.includes(instructionPlace));
  if (hasPlace === (instruction !== undefined)) return;
  const message = hasPlace
    ? `is missing: it says what stands at ${instructionPlace}`
    : `has no place: write ${instructionPlace} where it stands in prefix, suffix or condition.prefix.after`;
  context.addIssue({ code: 'custom', path: ['instruction'], message });
}

function checkBlocks({ attention, blockGrid, defaults }: DllmKeys, context: z.RefinementCtx): void {
  const { blockLength } = (defaults as SamplerDefaults | null) ?? {}; // what is no object is told of by itself
  if (blockLength !== undefined || (attention === 'full' && blockGrid === 'prompt')) return;
  const key = attention === 'block' ? 'attention' : 'blockGrid';
  const value = attention === 'block' ? attention : blockGrid;
  context.addIssue({ code: 'custom', path: [key], message: `"${value}" needs defaults.blockLength beside it` });
}
export type DllmManifest = z.output<typeof dllmManifest>;

/** `fkinv.json` of a CLIP. */
export const clipManifest = z.strictObject({
  ...common,
  graphs: z.strictObject({ vision: fileName.optional(), text: fileName.optional() }).default({}),
  /** The most tokens of a text, where no other file says it. */
  maxTokens: integer(1, 8192).optional(),
  /** Whether every text is padded to `maxTokens`, for a model that was trained so and takes no attention mask. */
  padded: z.boolean().optional(),
  /** Id that texts are padded with. */
  padId: tokenId.optional(),
  variants: variantsOf({ graphs: z.strictObject({ vision: fileName, text: fileName }) }),
});
export type ClipManifest = z.output<typeof clipManifest>;

/** The kind of model that a manifest is of by its keys, or else by what is known of its repository; undefined where neither tells. */
export function statedKind(manifest: object, repository: string | undefined): 'clip' | 'dllm' | undefined {
  const keys = Object.keys(manifest);
  if (keys.includes('graphs')) return 'clip';
  if (keys.some((key) => key in dllmManifest.shape && !(key in clipManifest.shape))) return 'dllm';
  return knownModels[repository ?? '']?.kind;
}

/**
 * Reads the manifest of `folder`, without holding its files to it: its own, else the one that this package has for its repository,
 * else an empty one. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`.
 */
export async function parseManifest<T extends Common>(folder: ModelFolder, schema: z.ZodType<T>): Promise<T> {
  if ((await folder.optionalText(manifestName)) !== undefined) return folder.json(manifestName, schema);
  const { manifest = {} } = knownModels[folder.repository ?? ''] ?? {};
  return validate(schema, manifest, `the manifest of ${folder.repository ?? ''}`, 'INTERNAL');
}

/** The same, with the files held to the manifest's hashes. */
export async function readManifest<T extends Common>(folder: ModelFolder, schema: z.ZodType<T>): Promise<T> {
  const manifest = await parseManifest(folder, schema);
  await folder.verify(manifest.files);
  return manifest;
}

/** The dLLM's graph, as the manifest has it. */
export function dllmGraph({ graph, variants, optimization }: DllmManifest): GraphFile {
  return {
    kind: 'dllm',
    named: graph,
    standard: 'model.onnx',
    variants: mapValues(variants, (own) => ({ file: own.graph, optimization: own.optimization ?? optimization })),
    optimization,
    needs: 'a dLLM folder needs it, in itself or in its onnx/',
  };
}

/** The vision graph of a dLLM's own, `from` its condition. */
export function towerGraph(from: string, optimization: number): GraphFile {
  const needs = `condition of ${manifestName} takes the image from it`;
  return { kind: 'dllm', named: from, standard: from, optimization, needs };
}

/** One of a CLIP's two graphs, as the manifest has it. */
export function clipGraph({ graphs, variants, optimization }: ClipManifest, tower: 'vision' | 'text'): GraphFile {
  return {
    kind: 'clip',
    named: graphs[tower],
    standard: `${tower}_model.onnx`,
    elsewhere: tower === 'vision' ? 'visual/model.onnx' : 'textual/model.onnx',
    variants: mapValues(variants, (own) => ({
      file: own.graphs[tower],
      optimization: own.optimization ?? optimization,
    })),
    optimization,
    needs:
      'a CLIP folder needs vision_model.onnx and text_model.onnx, in itself or in its onnx/, or visual/model.onnx and ' +
      'textual/model.onnx (a model.onnx of both towers together is not enough)',
  };
}

function mapValues<T, U>(record: Record<string, T>, f: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]));
}
