import { z } from 'zod';
import type { Clip } from './clip';
import { checkColumns, prefixWith, readTokens, suppressedIds, tokenFields, type Tokens } from './dllm-tokens';
import { FkinvError } from '../errors';
import type { PreparedImage } from '../images/pixels';
import type { Preprocessor } from '../images/preprocessor';
import {
  dllmGraph,
  dllmManifest,
  manifestName,
  maxVocab,
  readManifest,
  type DllmManifest,
  type SamplerDefaults,
} from './manifest';
import { agreeOnAxis, type Graph, type Wanted } from './graph';
import type { ModelFolder } from './model-folder';
import type { NativeDllmGraph, NativeEngine, NativeRecorder, NativeTensor, NativeTensorInfo } from '../native/addon';
import { Tokenizer } from './tokenizer';
import { VisionTower } from './vision-tower';

const configSchema = z.looseObject({
  ...tokenFields,
  vocab_size: z.int().min(1).max(maxVocab).optional(),
  max_position_embeddings: z.int().min(1).nullish(),
  condition: z
    .strictObject({ input: z.string(), from: z.literal('clip'), absent: z.literal('zeros').optional() })
    .optional(),
});
type Config = z.output<typeof configSchema>;

/** What a dLLM is given of an image by its own tower. */
export interface ImageCondition {
  /** Features [1, …] for the graph's condition input, on the engine's device. */
  features?: NativeTensor;
  /** The image's ids before the prompt positions, in place of the dLLM's own prefix, where the tower gives ids. */
  prefix?: number[];
}

/** The discrete diffusion language model: `model.onnx`, `config.json`, its tokenizer and, where it needs one, `fkinv.json`. */
export class Dllm {
  readonly maskId: number;
  /** Ids that end a prompt. */
  readonly stops: number[];
  /** Ids that stand before the prompt positions in every row, an image's own behind them. */
  readonly prefix: number[];
  /** Ids that stand after the prompt positions in every row. */
  readonly suffix: number[];
  /** 1 where row i of the logits predicts position i + 1, else 0. */
  readonly shift: 0 | 1;
  /** The most rows that a forward may have; undefined where the model sets no limit. */
  readonly maxBatch: number | undefined;
  /** Options of an inversion that the manifest has in place of the package's own defaults. */
  readonly defaults: SamplerDefaults;
  readonly #tensors: DllmManifest['tensors'];
  readonly #tokens: Tokens;
  #withoutSpace: number[] | undefined;

  private constructor(
    readonly model: Graph,
    readonly tokenizer: Tokenizer,
    { defaults, logitShift, maxBatch, tensors }: DllmManifest,
    tokens: Tokens,
    /** The dLLM's own vision graph; undefined where its condition is CLIP's image embedding, or where it has none. */
    readonly tower: VisionTower | undefined,
    /** Name of the input that takes what the tower gives, or CLIP's image embedding; empty where there is none. */
    readonly condition: string,
    /** V: columns of the logits. */
    readonly vocab: number,
    /** Ids no prompt may hold: [MASK], specials, columns for which the tokenizer has no token, the manifest's own. */
    readonly suppressed: number[],
    /** The most prompt positions it takes: prefix and suffix are taken off. */
    readonly maxLength: number,
    /** The only number of prompt positions it takes, where the graph fixes it. */
    readonly fixedLength: number | undefined,
    /** The engine it was loaded onto, whose `maxPositions` limits the prompt too, whatever the model takes. */
    readonly engine: Pick<NativeEngine, 'device' | 'maxPositions'>,
  ) {
    this.maskId = tokens.maskId;
    this.stops = tokens.stops;
    this.prefix = tokens.prefix;
    this.suffix = tokens.suffix;
    this.shift = logitShift;
    this.maxBatch = maxBatch;
    this.defaults = defaults;
    this.#tensors = tensors;
    this.#tokens = tokens;
  }

  /**
   * Loads the model onto `engine`; `clip` gives the image embedding that it may take. With `cudaGraphs` a GPU captures its
   * runs, but not those of a tower.
   * @throws FkinvError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_INTERFACE` or `TOKENIZER_MISMATCH`
   */
  static async load(engine: NativeEngine, folder: ModelFolder, clip: Clip, cudaGraphs = false): Promise<Dllm> {
    const config = await folder.json('config.json', configSchema);
    const manifest = await readManifest(folder, dllmManifest);
    const tokenizer = await Tokenizer.load(folder);
    const tokens = await readTokens(folder, config, manifest, tokenizer);
    const model = await folder.graph(engine, { ...dllmGraph(manifest), cudaGraphs });
    const tower = await loadTower(engine, folder, manifest);
    const condition = conditionOf(config, manifest);
    const { columns, fixed } = checkGraph(model, manifest, condition, tower?.rowShape ?? [clip.embedSize]);
    const vocab = agreeOnAxis(model, 'the vocabulary size', columns, config.vocab_size);
    checkColumns(folder, tokenizer, tokens, vocab);
    const suppressed = suppressedIds(tokenizer, tokens, vocab);
    const around = tokens.prefix.length + imageLength(tokens, tower) + tokens.suffix.length;
    const maxLength = lengthOf(folder, positionsOf(folder, config, manifest, fixed), around, manifest.defaults);
    const fixedLength = fixed === undefined ? undefined : maxLength;
    const limits = [maxLength, fixedLength, engine] as const;
    return new Dllm(model, tokenizer, manifest, tokens, tower, condition, vocab, suppressed, ...limits);
  }

  /**
   * What the model's own tower wants done with the picture of a reference of `pictures` pictures; undefined where it has none.
   * Throws `INVALID_OPTION` for several.
   */
  preprocessorFor(pictures: number): Preprocessor | undefined {
    if (this.tower === undefined || pictures === 1) return this.tower?.preprocessor;
    throw new FkinvError(
      'INVALID_OPTION',
      `image: ${pictures} images cannot be one reference for this dLLM, which sees the image through ` +
        `${this.tower.graph.file}: only CLIP's embeddings can be averaged, give one image`,
    );
  }

  /** What the model's own tower gives of an image that is prepared for it. Throws `MODEL_RUN` or `MODEL_INVALID`. */
  async encodeImage(image: PreparedImage | undefined, recorder?: NativeRecorder): Promise<ImageCondition> {
    if (this.tower === undefined || image === undefined) return {};
    const seen = await this.tower.encode(image, recorder);
    return 'features' in seen
      ? seen
      : { prefix: prefixWith(this.#tokens, seen.ids, this.vocab, this.tower.graph.file) };
  }

  /** Text of one row of tokens: what stands before its first stop token. */
  decode(tokens: number[]): string {
    const end = tokens.findIndex((id) => this.stops.includes(id));
    return this.tokenizer.decode(end === -1 ? tokens : tokens.slice(0, end));
  }

  /**
   * The prompt of one row of tokens, which is what CLIP reads and what is given to people. Tokens of many models have the
   * space before their word in them: at the start of a prompt it stands before nothing, and is left out.
   */
  prompt(tokens: number[]): string {
    return this.decode(tokens).replace(/^ +/, '');
  }

  /** Text of one token; empty for one that is no text. */
  label(id: number): string {
    return this.tokenizer.decode([id]);
  }

  /**
   * Ids whose text does not begin with a space, those without text among them: after fixed text they would run on from
   * it. The list is made when it is first asked for, since that decodes the whole vocabulary.
   */
  get withoutSpace(): number[] {
    return (this.#withoutSpace ??= withoutSpace(this.tokenizer, this.vocab));
  }

  /** How many ids stand before the prompt positions, those of the image among them. */
  get prefixLength(): number {
    return this.prefix.length + imageLength(this.#tokens, this.tower);
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
      conditionShape: BigInt64Array.from(this.condition === '' ? [] : (this.tower?.rowShape ?? []), BigInt),
    };
  }
}

async function loadTower(
  engine: NativeEngine,
  folder: ModelFolder,
  { condition, optimization }: DllmManifest,
): Promise<VisionTower | undefined> {
  if (typeof condition !== 'object' || !('output' in condition)) return undefined;
  return VisionTower.load(engine, folder, condition, optimization);
}

/** The name of the condition input, empty where there is none; the manifest is heard before config.json. */
function conditionOf(config: Config, manifest: DllmManifest): string {
  const condition = manifest.condition ?? config.condition ?? 'none';
  return typeof condition === 'object' && 'input' in condition ? condition.input : '';
}

/**
 * Checks the graph's tensors; gives the columns of the logits, −1 where they are open, and the positions of a row where the
 * graph fixes them.
 */
function checkGraph(
  model: Graph,
  { tensors }: DllmManifest,
  condition: string,
  conditionShape: number[],
): { columns: number | undefined; fixed: number | undefined } {
  const { ids, attentionMask, positionIds, timestep, logits } = tensors;
  const perPosition: Wanted[] = [ids, attentionMask, positionIds]
    .filter((name) => name !== '')
    .map((name) => ({ name, types: ['int64'], axes: ['states', 'positions'] }));
  const perState: Wanted[] = [
    { name: timestep, types: ['float32', 'int64'], axes: ['states'] },
    { name: condition, types: ['float32'], axes: ['states', ...conditionShape] },
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

/** Positions of a row that an image's ids take, with what stands around them. */
function imageLength({ image }: Tokens, tower: VisionTower | undefined): number {
  if (image === undefined) return 0;
  return image.before.length + (tower?.rowShape[0] ?? 0) + image.after.length;
}

/** The positions of a row that are left for the prompt. */
function lengthOf(folder: ModelFolder, positions: number, around: number, defaults: SamplerDefaults): number {
  const length = positions - around;
  const fail = (what: string): never => {
    throw new FkinvError('MODEL_INVALID', `${folder.file(manifestName)}: ${what}`);
  };
  if (length < 1)
    fail(`prefix, image and suffix take ${around} of ${positions} positions, which leaves none for the prompt`);
  if (defaults.length !== undefined && defaults.length > length) {
    fail(`defaults.length: ${defaults.length} is over the ${length} positions left for the prompt`);
  }
  return length;
}
