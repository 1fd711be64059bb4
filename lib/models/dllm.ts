import { z } from 'zod';
import type { Clip } from './clip';
import { checkColumns, imageIds, readTokens, suppressedIds, tokenFields, type Tokens } from './dllm-tokens';
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
import type { Around, Surroundings } from './instruction';
import { checkPair } from './pair';
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

/** Hints of an image for a model that sees nothing of it. */
const usualHints = 5;

/** What a dLLM is given of an image by its own tower. */
export interface ImageCondition {
  /** Features [1, …] for the graph's condition input, on the engine's device. */
  features?: NativeTensor;
  /** The image's ids, which stand behind the prefix, where the tower gives ids. */
  ids?: number[];
}

/** What stands around the prompt positions of an image's rows. */
export interface Row {
  prefix: number[];
  suffix: number[];
  /** The hints that the prefix tells of: the first of those that were given, as many as there was room for. */
  hints: string[];
}

/** The discrete diffusion language model: `model.onnx`, `config.json`, its tokenizer and, where it needs one, `fkinv.json`. */
export class Dllm {
  readonly maskId: number;
  /** Ids that end a prompt. */
  readonly stops: number[];
  /** What stands around the prompt positions, with any instruction. */
  readonly surroundings: Surroundings;
  /** Ids that stand before the prompt positions in every row, an image's own behind them, with the manifest's own instruction. */
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
    this.surroundings = tokens.surroundings;
    this.prefix = tokens.surroundings.own.prefix;
    this.suffix = tokens.surroundings.own.suffix;
    this.shift = logitShift;
    this.maxBatch = maxBatch;
    this.defaults = defaults;
    this.#tensors = tensors;
    this.#tokens = tokens;
  }

  /**
   * Loads the model onto `engine`; `clip` gives the image embedding that it may take. With `cudaGraphs` a GPU captures its
   * runs, but not those of a tower.
   * @throws FkinvError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_INTERFACE`, `TOKENIZER_MISMATCH` or `PAIR_MISMATCH`
   */
  static async load(engine: NativeEngine, folder: ModelFolder, clip: Clip, cudaGraphs = false): Promise<Dllm> {
    const config = await folder.json('config.json', configSchema);
    const manifest = await readManifest(folder, dllmManifest);
    await checkPair(clip, manifest, folder);
    const tokenizer = await Tokenizer.load(folder);
    const tokens = await readTokens(folder, config, manifest, tokenizer);
    const model = await folder.graph(engine, { ...dllmGraph(manifest), cudaGraphs });
    const tower = await loadTower(engine, folder, manifest);
    const condition = conditionOf(config, manifest);
    const { columns, fixed } = checkGraph(model, manifest, condition, tower?.rowShape ?? [clip.embedSize]);
    const vocab = agreeOnAxis(model, 'the vocabulary size', columns, config.vocab_size);
    checkColumns(folder, tokenizer, tokens, vocab);
    const suppressed = suppressedIds(tokenizer, tokens, vocab);
    const { prefix, suffix } = tokens.surroundings.own;
    const around = prefix.length + imageLength(tokens, tower) + suffix.length;
    const maxLength = promptLength(folder, positionsOf(folder, config, manifest, fixed), around, manifest.defaults);
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
    return 'features' in seen ? seen : { ids: imageIds(this.#tokens, seen.ids, this.vocab, this.tower.graph.file) };
  }

  /** Whether its template has a place for an instruction. */
  get takesInstruction(): boolean {
    return this.surroundings.takeInstruction;
  }

  /** Whether its instruction has a place for hints, and its rows have room for as many tokens as they take. */
  get takesHints(): boolean {
    return this.surroundings.takeHints && this.fixedLength === undefined;
  }

  /** How many hints an image has where nobody says: those of a model that sees nothing of the image. */
  get usualHints(): number {
    return this.takesHints && this.condition === '' && this.tower === undefined ? usualHints : 0;
  }

  /**
   * `maxLength` and `fixedLength` where `instruction` stands in place of the model's own. Throws `INVALID_OPTION` where it cannot be
   * written as text, or leaves no position for the prompt.
   */
  lengthsWith(instruction: string | undefined): { maxLength: number; fixedLength: number | undefined } {
    const { surroundings } = this;
    const maxLength = this.maxLength + lengthOf(surroundings.own) - lengthOf(surroundings.with(instruction));
    if (maxLength >= 1) return { maxLength, fixedLength: this.fixedLength === undefined ? undefined : maxLength };
    throw new FkinvError(
      'INVALID_OPTION',
      `instruction: it takes ${1 - maxLength} positions more than the model has beside a prompt: shorten it`,
    );
  }

  /**
   * What stands around the `length` prompt positions of an image of which the model's own tower gave `ids`, with as many of the `hints`, best
   * first, as a row has room for.
   */
  around(options: { instruction?: string | undefined; length: number }, hints: string[], { ids }: ImageCondition): Row {
    const { surroundings } = this;
    const { image } = this.#tokens;
    const room = this.maxLength + lengthOf(surroundings.own) - options.length;
    let told = hints;
    let around = surroundings.with(options.instruction, told);
    while (told.length > 0 && lengthOf(around) > room) {
      told = told.slice(0, -1);
      around = surroundings.with(options.instruction, told);
    }
    const ofImage = ids === undefined ? [] : [...(image?.before ?? []), ...ids, ...around.after];
    return { prefix: [...around.prefix, ...ofImage], suffix: around.suffix, hints: told };
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

  /** How many ids stand before the prompt positions, those of the image among them, where no hints do. */
  prefixLengthWith(instruction: string | undefined): number {
    const { surroundings } = this;
    const { prefix, after } = surroundings.with(instruction);
    const more = after.length - surroundings.own.after.length;
    return prefix.length + imageLength(this.#tokens, this.tower) + more;
  }

  /** The graph with what the particle system must know of it, the `suffix` of the rows among it. */
  graph(suffix: readonly number[] = this.suffix): NativeDllmGraph {
    return {
      session: this.model.session,
      ...this.#tensors,
      condition: this.condition,
      vocab: this.vocab,
      shift: this.shift,
      suffix: Int32Array.from(suffix),
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
function imageLength({ image, surroundings }: Tokens, tower: VisionTower | undefined): number {
  if (image === undefined) return 0;
  return image.before.length + (tower?.rowShape[0] ?? 0) + surroundings.own.after.length;
}

function lengthOf({ prefix, suffix, after }: Around): number {
  return prefix.length + suffix.length + after.length;
}

/** The positions of a row that are left for the prompt. */
function promptLength(folder: ModelFolder, positions: number, around: number, defaults: SamplerDefaults): number {
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
