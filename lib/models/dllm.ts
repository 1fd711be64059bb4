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
import { checkDllmGraph, constantInputs, type DllmInterface } from './dllm-graph';
import { agreeOnAxis, type Graph } from './graph';
import type { ModelFolder } from './model-folder';
import type { NativeDllmGraph, NativeEngine, NativeInput, NativeRecorder, NativeTensor } from '../native/addon';
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
  /** Where the sampler's blocks are counted from: the first position of the prompt, or that of the row. */
  readonly blockGrid: 'prompt' | 'row';
  readonly #interface: DllmInterface;
  readonly #tokens: Tokens;
  #withoutSpace: number[] | undefined;

  private constructor(
    readonly model: Graph,
    readonly tokenizer: Tokenizer,
    { blockGrid, defaults, logitShift, maxBatch }: DllmManifest,
    graphInterface: DllmInterface,
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
    this.blockGrid = blockGrid;
    this.#interface = graphInterface;
    this.#tokens = tokens;
  }

  /**
   * Loads the model onto `engine`; `clip` gives the image embedding that it may take. With `cudaGraphs` a GPU captures its
   * runs, but not those of a tower.
   * @throws FkinvError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_INTERFACE`, `TOKENIZER_MISMATCH` or `PAIR_MISMATCH`
   */
  static async load(engine: NativeEngine, folder: ModelFolder, clip: Clip, cudaGraphs = false): Promise<Dllm> {
    const config = await folder.optionalJson('config.json', configSchema);
    const manifest = await readManifest(folder, dllmManifest);
    await checkPair(clip, manifest, folder);
    const tokenizer = await Tokenizer.load(folder);
    const tokens = await readTokens(folder, config, manifest, tokenizer);
    const model = await folder.graph(engine, { ...dllmGraph(manifest), cudaGraphs });
    const tower = await loadTower(engine, folder, manifest);
    const condition = conditionOf(config, manifest);
    if (tower === undefined) expectClip(model, condition, clip);
    const found = checkDllmGraph(model, manifest, condition, tower?.rowShape ?? [clip.embedSize]);
    const vocab = agreeOnAxis(model, 'the vocabulary size', found.columns, config.vocab_size);
    checkColumns(folder, tokenizer, tokens, vocab);
    const suppressed = suppressedIds(tokenizer, tokens, vocab);
    const { prefix, suffix } = tokens.surroundings.own;
    const around = prefix.length + imageLength(tokens, tower) + suffix.length;
    const positions = found.positions ?? manifest.maxPositions ?? config.max_position_embeddings;
    const room = promptLength(folder, positions ?? noPositions(folder), around, manifest.defaults);
    const isFixed = found.positions !== undefined || found.rows !== undefined;
    const maxLength = found.rows ?? room;
    if (maxLength > room || (found.positions !== undefined && maxLength !== room)) {
      model.refuse(`gives logits of ${maxLength} rows, and a row has ${room} positions for the prompt`);
    }
    const limits = [maxLength, isFixed ? maxLength : undefined, engine] as const;
    return new Dllm(model, tokenizer, manifest, found, tokens, tower, condition, vocab, suppressed, ...limits);
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

  /** Inputs of its graph that are the same for every row of `width` positions, of which the logits of `rows` are wanted. */
  constantInputs(width: number, rows: number[]): NativeInput[] {
    return constantInputs(this.model, this.#interface, width, rows);
  }

  /** The graph with what the particle system must know of it, the `suffix` of the rows among it. */
  graph(suffix: readonly number[] = this.suffix): NativeDllmGraph {
    return {
      session: this.model.session,
      ...this.#interface.tensors,
      attentionBlock: this.#interface.attentionBlock,
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

function withoutSpace({ spacedIds }: Tokenizer, vocab: number): number[] {
  const spaced = new Set(spacedIds);
  return Array.from({ length: vocab }, (_, id) => id).filter((id) => !spaced.has(id));
}

/** Throws `MODEL_INTERFACE` where the graph's input `condition` ('' for none) takes embeddings of another size than `clip` gives. */
function expectClip(model: Graph, condition: string, { embedSize, vision }: Clip): void {
  const taken = model.session.inputs.find(({ name }) => name === condition)?.shape[1] ?? -1;
  if (taken === -1 || taken === embedSize) return;
  model.refuse(
    `takes CLIP's embedding of ${taken} numbers in "${condition}", and ${vision.file} gives ${embedSize}: this dLLM belongs to ` +
      'another CLIP, give the one that it was trained with, or a dLLM that takes no image, which fits any CLIP',
  );
}

function noPositions(folder: ModelFolder): never {
  throw new FkinvError(
    'MODEL_INVALID',
    `${folder.path}: the most positions of a row are not known: give maxPositions in ${manifestName}, ` +
      'max_position_embeddings in config.json, or a graph that fixes them',
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
