import { Fault, type Examination } from './checks';
import { Clip } from '../models/clip';
import { Dllm } from '../models/dllm';
import { errorCodes, FkinvError } from '../errors';
import { preparedSize } from '../images/preprocessor';
import { checkDefaults } from '../inverter';
import { manifestName, type SamplerDefaults } from '../models/manifest';
import type { Graph } from '../models/graph';
import type { ModelFolder } from '../models/model-folder';
import type { NativeEngine, NativeTensorInfo } from '../native/addon';
import { clipParity, dllmParity, holds, type ParityResult } from './parity';

/** A graph and its tensors; dynamic axes are −1. */
export interface GraphFacts {
  file: string;
  inputs: NativeTensorInfo[];
  outputs: NativeTensorInfo[];
}

/** What a dLLM came to. */
export interface DllmFacts {
  /** Columns of the logits. */
  vocabulary: number;
  /** One more than the tokenizer's highest id. */
  tokens: number;
  maskId: number;
  stopIds: number[];
  /** How many ids no prompt may hold. */
  suppressed: number;
  logitShift: 0 | 1;
  prefix: number[];
  suffix: number[];
  /** The most prompt positions. */
  maxLength: number;
  /** The only number of them, where the graph fixes it. */
  fixedLength: number | null;
  maxBatch: number | null;
  /** What it gets of the image. */
  condition: string;
  defaults: SamplerDefaults;
}

/** What a CLIP came to. */
export interface ClipFacts {
  /** Floats of an embedding. */
  embedSize: number;
  /** One more than the tokenizer's highest id. */
  tokens: number;
  /** The most tokens of a text. */
  maxWidth: number;
  /** Pixels of the image it sees; null where its preprocessing leaves them open. */
  image: { width: number; height: number } | null;
}

/** A model that was loaded, and what was found. */
export interface Loaded<Model, Facts> {
  model: Model;
  graphs: GraphFacts[];
  facts: Facts;
  parity: ParityResult[];
}

/** Where a model is, and what its checks are called and wait for. */
export interface Place {
  exam: Examination;
  folder: ModelFolder;
  engine: NativeEngine;
  /** The file of parity cases that the manifest names. */
  parityFile: string | null;
  /** Name of the check that is `graphs` or `parity`. */
  label: (part: 'graphs' | 'parity') => string;
  /** Checks that must be ok before it is loaded. */
  needs: string[];
}

/**
 * Loads a CLIP, checks its parity and frees its vision graph; undefined where it does not load. Its text graph is the caller's to free, as a
 * dLLM may be held against it.
 */
export async function examineClip(place: Place): Promise<Loaded<Clip, ClipFacts> | undefined> {
  const { exam, folder, engine, label, needs } = place;
  const clip = await exam.run(label('graphs'), needs, async () => {
    const loaded = await Clip.load(engine, folder);
    return [`vision and text: embeddings of ${loaded.embedSize} numbers`, loaded];
  });
  if (clip === undefined) return undefined;
  const { embedSize, maxWidth, tokenizer, preprocessor, vision, text } = clip;
  const graphs = [vision, text];
  const found = {
    model: clip,
    graphs: graphs.map(factsOf),
    facts: { embedSize, maxWidth, tokens: tokenizer.size, image: preparedSize(preprocessor) ?? null },
    parity: await examineParity(place, 'tokens', (file) => clipParity(folder, file, clip)),
  };
  vision.session.dispose();
  return found;
}

/**
 * Loads a dLLM, checks its parity and frees its graphs; undefined where it does not load. Its condition may be an embedding of `clip`:
 * `isStandIn` where that is the embedded one only because no other was given.
 */
export async function examineDllm(
  place: Place,
  clip: Clip,
  isStandIn: boolean,
): Promise<Loaded<Dllm, DllmFacts> | undefined> {
  const { exam, folder, engine, label, needs } = place;
  const dllm = await exam.run(label('graphs'), needs, async () => {
    const loaded = await Dllm.load(engine, folder, clip).catch((error: unknown) => {
      throw isStandIn ? withClip(error, clip) : error;
    });
    checkDefaults(loaded, folder);
    return [`logits of ${loaded.vocab} columns, prompts of up to ${loaded.maxLength} positions`, loaded];
  });
  if (dllm === undefined) return undefined;
  const graphs = [dllm.model, ...(dllm.tower === undefined ? [] : [dllm.tower.graph])];
  const found = {
    model: dllm,
    graphs: graphs.map(factsOf),
    facts: dllmFacts(dllm),
    parity: await examineParity(place, 'positions', (file) => dllmParity(folder, file, dllm, clip)),
  };
  for (const { session } of graphs) session.dispose();
  return found;
}

function factsOf({ file, session }: Graph): GraphFacts {
  return { file, inputs: session.inputs, outputs: session.outputs };
}

function dllmFacts(dllm: Dllm): DllmFacts {
  const { vocab, tokenizer, maskId, stops, suppressed, shift, prefix, suffix, maxLength, defaults } = dllm;
  return {
    vocabulary: vocab,
    tokens: tokenizer.size,
    maskId,
    stopIds: stops,
    suppressed: suppressed.length,
    logitShift: shift,
    prefix,
    suffix,
    maxLength,
    fixedLength: dllm.fixedLength ?? null,
    maxBatch: dllm.maxBatch ?? null,
    condition: conditionOf(dllm),
    defaults,
  };
}

function conditionOf({ condition, tower }: Dllm): string {
  if (tower !== undefined) return `${condition === '' ? 'ids in the prefix' : condition}, from ${tower.graph.file}`;
  return condition === '' ? 'none' : `${condition}, CLIP's embedding`;
}

/** What a dLLM that does not fit the embedded CLIP fails with: it may well fit its own. */
function withClip(error: unknown, { embedSize }: Clip): unknown {
  if (!(error instanceof FkinvError) || (error.code !== 'MODEL_INTERFACE' && error.code !== 'PAIR_MISMATCH'))
    return error;
  const remedy =
    `${errorCodes[error.code]} If its condition is the embedding of a CLIP of its own, give that folder beside it: ` +
    `it was held against the embedded CLIP, which has ${embedSize} numbers.`;
  return new Fault(error.message, remedy, error.code, { cause: error });
}

async function examineParity(
  { exam, label, parityFile }: Place,
  unit: string,
  run: (file: string) => Promise<ParityResult[]>,
): Promise<ParityResult[]> {
  const results: ParityResult[] = [];
  await exam.run(label('parity'), [], async () => {
    if (parityFile === null) return [`not checked: ${manifestName} names no file of parity`, undefined];
    results.push(...(await run(parityFile)));
    expectParity(results, unit);
    const lengths = results.map(({ length }) => length).join(' and ');
    const worst = results.reduce((a, { difference }) => Math.max(a, difference ?? 0), 0);
    return [`at ${lengths} ${unit}, off by at most ${worst.toPrecision(2)}`, undefined];
  });
  return results;
}

const remedies = {
  values:
    'The graph gives other numbers than the model: compare weights, tokenizer and condition with the model that the cases are of; a ' +
    'float16 export that overflows is off too. What rounding alone explains, such as of quantized weights, is ' +
    'allowed for by tolerance in each case.',
  lengths:
    'The graph holds at one length and not at another: something was made for the length it was traced at. Usual causes: ' +
    'rotary tables or position ids that are constants in the graph, an attention mask of fixed size. Export it with ' +
    'that axis dynamic, and with these computed from the shape of the ids.',
};

function expectParity(results: ParityResult[], unit: string): void {
  const lines = results.map(({ length, difference, tolerance, error }) => {
    const found = error ?? (difference === null ? 'NaN or infinite' : `off by ${difference.toPrecision(2)}`);
    return `${found} at ${length} ${unit} (${tolerance} is allowed)`;
  });
  if (results.every(holds)) return;
  const good = new Set(results.filter(holds).map(({ length }) => length));
  const isByLength = good.size > 0 && results.every((result) => holds(result) === good.has(result.length));
  throw new Fault(lines.join('; '), isByLength ? remedies.lengths : remedies.values, 'MODEL_INVALID');
}
