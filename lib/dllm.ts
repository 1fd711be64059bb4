import { z } from 'zod';
import type { Clip } from './clip';
import { checkColumns, readTokens, suppressedIds, tokenFields, type Tokens } from './dllm-tokens';
import { FkinvError } from './errors';
import {
  dllmManifest,
  manifestName,
  maxVocab,
  readManifest,
  type DllmManifest,
  type SamplerDefaults,
} from './manifest';
import { agreeOnAxis, type Graph, type ModelFolder, type Wanted } from './model-folder';
import type { NativeDllmGraph, NativeEngine, NativeTensorInfo } from './native';
import { Tokenizer } from './tokenizer';

const configSchema = z.looseObject({
  ...tokenFields,
  vocab_size: z.int().min(1).max(maxVocab).optional(),
  max_position_embeddings: z.int().min(1).nullish(),
  condition: z
    .strictObject({ input: z.string(), from: z.literal('clip'), absent: z.literal('zeros').optional() })
    .optional(),
});
type Config = z.output<typeof configSchema>;

/** The discrete diffusion language model: `model.onnx`, `config.json`, its tokenizer and, where it needs one, `fkinv.json`. */
export class Dllm {
  readonly maskId: number;
  /** Ids that end a prompt. */
  readonly stops: number[];
  /** Ids that stand before the prompt positions in every row. */
  readonly prefix: number[];
  /** Ids that stand after them. */
  readonly suffix: number[];
  /** 1 where row i of the logits predicts position i + 1, else 0. */
  readonly shift: 0 | 1;
  /** The most rows that a forward may have; undefined where the model sets no limit. */
  readonly maxBatch: number | undefined;
  /** Options of an inversion that the manifest has in place of the package's own defaults. */
  readonly defaults: SamplerDefaults;
  readonly #tensors: DllmManifest['tensors'];
  #withoutSpace: number[] | undefined;

  private constructor(
    readonly model: Graph,
    readonly tokenizer: Tokenizer,
    { defaults, logitShift, maxBatch, tensors }: DllmManifest,
    { maskId, stops, prefix, suffix }: Tokens,
    /** Name of the input that takes CLIP's image embedding; empty where there is none. */
    readonly condition: string,
    /** V: columns of the logits. */
    readonly vocab: number,
    /** Ids no prompt may hold: [MASK], specials, columns for which the tokenizer has no token, the manifest's own. */
    readonly suppressed: number[],
    /** The most prompt positions it takes: prefix and suffix are taken off. */
    readonly maxLength: number,
    /** The only number of prompt positions it takes, where the graph fixes it. */
    readonly fixedLength: number | undefined,
  ) {
    this.maskId = maskId;
    this.stops = stops;
    this.prefix = prefix;
    this.suffix = suffix;
    this.shift = logitShift;
    this.maxBatch = maxBatch;
    this.defaults = defaults;
    this.#tensors = tensors;
  }

  /**
   * Loads the model onto `engine`; `clip` gives the image embedding that it may take.
   * @throws FkinvError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_INTERFACE` or `TOKENIZER_MISMATCH`
   */
  static async load(engine: NativeEngine, folder: ModelFolder, clip: Clip): Promise<Dllm> {
    const config = await folder.json('config.json', configSchema);
    const manifest = await readManifest(folder, dllmManifest);
    const tokenizer = await Tokenizer.load(folder);
    const tokens = await readTokens(folder, config, manifest, tokenizer);
    const model = await folder.graph(engine, {
      named: manifest.graph,
      standard: 'model.onnx',
      optimization: manifest.optimization,
      needs: 'a dLLM folder needs it, in itself or in its onnx/',
    });
    const condition = conditionOf(config, manifest);
    const { columns, fixed } = checkGraph(model, manifest, condition, clip.embedSize);
    const vocab = agreeOnAxis(model, 'the vocabulary size', columns, config.vocab_size);
    checkColumns(folder, tokenizer, tokens, vocab);
    const suppressed = suppressedIds(tokenizer, tokens, vocab);
    const maxLength = lengthOf(folder, positionsOf(folder, config, manifest, fixed), tokens, manifest.defaults);
    const fixedLength = fixed === undefined ? undefined : maxLength;
    return new Dllm(model, tokenizer, manifest, tokens, condition, vocab, suppressed, maxLength, fixedLength);
  }

  /** Text of one row of tokens: what stands before its first stop token. */
  decode(tokens: number[]): string {
    const end = tokens.findIndex((id) => this.stops.includes(id));
    return this.tokenizer.decode(end === -1 ? tokens : tokens.slice(0, end));
  }

  /** Text of one token; empty for one that is no text. */
  label(id: number): string {
    return this.tokenizer.decode([id]);
  }

  /**
   * Ids whose text does not begin with a space, those without text among them: after fixed text they would run on from
   * it. Made when first asked for, since it decodes the whole vocabulary.
   */
  get withoutSpace(): number[] {
    return (this.#withoutSpace ??= withoutSpace(this.tokenizer, this.vocab));
  }

  /** The graph with what the particle system must know of it. */
  graph(): NativeDllmGraph {
    return {
      session: this.model.session,
      ...this.#tensors,
      condition: this.condition,
      vocab: this.vocab,
      shift: this.shift,
      suffix: Int32Array.from(this.suffix),
    };
  }
}

/** The condition input's name, empty for none; the manifest's goes before config.json's. */
function conditionOf(config: Config, manifest: DllmManifest): string {
  const condition = manifest.condition ?? config.condition ?? 'none';
  return condition === 'none' ? '' : condition.input;
}

/** Columns of the logits, −1 where they are open, and positions of a row where the graph fixes them. */
function checkGraph(
  model: Graph,
  { tensors }: DllmManifest,
  condition: string,
  embedSize: number,
): { columns: number | undefined; fixed: number | undefined } {
  const { ids, attentionMask, positionIds, timestep, logits } = tensors;
  const perPosition: Wanted[] = [ids, attentionMask, positionIds]
    .filter((name) => name !== '')
    .map((name) => ({ name, types: ['int64'], axes: ['states', 'positions'] }));
  const perState: Wanted[] = [
    { name: timestep, types: ['float32', 'int64'], axes: ['states'] },
    { name: condition, types: ['float32'], axes: ['states', embedSize] },
  ];
  const inputs = model.expectInputs(
    [...perPosition, ...perState.filter(({ name }) => name !== '')],
    `which nothing here can give: an attention mask, position ids or a time are named in tensors of ${manifestName}`,
  );
  const output = model.expectOutput({
    name: logits,
    types: ['bfloat16', 'float16', 'float32'],
    axes: ['states', 'positions', 'vocab'],
  });
  return { columns: output.shape[2], fixed: fixedPositions(model, [...inputs.slice(0, perPosition.length), output]) };
}

function fixedPositions(model: Graph, tensors: NativeTensorInfo[]): number | undefined {
  const fixed = new Set(tensors.map(({ shape }) => shape[1] ?? -1));
  fixed.delete(-1);
  if (fixed.size > 1) model.refuse(`fixes its positions at ${[...fixed].join(' and at ')}: no row is both`);
  return [...fixed][0];
}

function withoutSpace({ spacedIds }: Tokenizer, vocab: number): number[] {
  const spaced = new Set(spacedIds);
  return Array.from({ length: vocab }, (_, id) => id).filter((id) => !spaced.has(id));
}

/** The most positions of a row, prefix and suffix included. */
function positionsOf(
  folder: ModelFolder,
  { max_position_embeddings }: Config,
  { maxPositions }: DllmManifest,
  fixed: number | undefined,
): number {
  const positions = fixed ?? maxPositions ?? max_position_embeddings;
  if (positions != null) return positions;
  throw new FkinvError(
    'MODEL_INVALID',
    `${folder.file('config.json')}: max_position_embeddings is missing, and so is maxPositions of ${manifestName}`,
  );
}

/** The positions of a row that prefix and suffix leave for the prompt. */
function lengthOf(
  folder: ModelFolder,
  positions: number,
  { prefix, suffix }: Tokens,
  defaults: SamplerDefaults,
): number {
  const around = prefix.length + suffix.length;
  const length = positions - around;
  const fail = (what: string): never => {
    throw new FkinvError('MODEL_INVALID', `${folder.file(manifestName)}: ${what}`);
  };
  if (length < 1) fail(`prefix and suffix take ${around} of ${positions} positions, which leaves none for the prompt`);
  if (defaults.length !== undefined && defaults.length > length) {
    fail(`defaults.length: ${defaults.length} is over the ${length} positions left for the prompt`);
  }
  return length;
}
