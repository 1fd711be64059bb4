import type { PreparedImage } from '../images/pixels';
import { preparedSize, type Preprocessor } from '../images/preprocessor';
import {
  readClipConfig,
  refuseWithoutLimit,
  refuseWithoutPadding,
  type ClipConfig,
  type TextConfig,
} from './clip-config';
import { agreeOnAxis, type Graph } from './graph';
import { clipGraph, clipManifest, readManifest } from './manifest';
import type { ModelFolder } from './model-folder';
import type { NativeEngine, NativeInput, NativeRecorder, NativeTensor, NativeTextGraph } from '../native/addon';
import type { Tokenizer } from './tokenizer';

/** Names of the towers' tensors, the usual ones first: of Hugging Face's exports, and of open_clip's as immich makes them. */
const names = {
  pixels: ['pixel_values', 'image'],
  imageEmbeds: ['image_embeds', 'embedding'],
  ids: ['input_ids', 'text'],
  textEmbeds: ['text_embeds', 'embedding'],
} as const;
const attentionMask = 'attention_mask';

/** CLIP ids of several texts: `ids`, one text after the other, text i `widths[i]` of them. */
export interface TextBatch {
  ids: BigInt64Array;
  widths: Int32Array;
  /** As long as `ids`, 0 where a text is padded; empty where none is. */
  mask: BigInt64Array;
}

/** The tensors of a tower. */
interface Tower {
  graph: Graph;
  input: string;
  output: string;
}

/** The text tower, and how its rows are made. */
interface TextTower extends Tower {
  /** The most tokens of a text. */
  maxWidth: number;
  /** What fills every row up to `maxWidth`; undefined where each text has its own width. */
  padding: { id: number; side: 'left' | 'right' } | undefined;
}

/** CLIP's two towers and what goes before them; {@link readClipConfig} knows how the folder may be laid out. */
export class Clip {
  readonly vision: Graph;
  readonly text: Graph;
  readonly preprocessor: Preprocessor;
  readonly tokenizer: Tokenizer;
  /** The most tokens of a text that CLIP reads. */
  readonly maxWidth: number;
  readonly #pixels: string;
  readonly #imageEmbeds: string;
  readonly #tower: TextTower;
  readonly #clean: TextConfig['clean'];

  private constructor(
    vision: Tower,
    text: TextTower,
    { preprocessor, text: { tokenizer, clean } }: ClipConfig,
    /** E: floats of an embedding. */
    readonly embedSize: number,
  ) {
    this.vision = vision.graph;
    this.#pixels = vision.input;
    this.#imageEmbeds = vision.output;
    this.text = text.graph;
    this.maxWidth = text.maxWidth;
    this.#tower = text;
    this.preprocessor = preprocessor;
    this.tokenizer = tokenizer;
    this.#clean = clean;
  }

  /**
   * Loads both towers onto `engine`.
   * @throws FkinvError `MODEL_NOT_FOUND`, `MODEL_INVALID` or `MODEL_INTERFACE`
   */
  static async load(engine: NativeEngine, folder: ModelFolder): Promise<Clip> {
    const manifest = await readManifest(folder, clipManifest);
    const config = await readClipConfig(folder, manifest);
    const vision = await folder.graph(engine, clipGraph(manifest, 'vision'));
    const { embedSize, ...imageTower } = checkVision(vision, config);
    const text = await folder.graph(engine, clipGraph(manifest, 'text'));
    return new Clip(imageTower, checkText(text, folder, config, embedSize), config, embedSize);
  }

  /** Embeddings [1, E] of one image, prepared as `preprocessor` says, on the engine's device. */
  encodeImage({ pixelValues, width, height }: PreparedImage, recorder?: NativeRecorder): Promise<NativeTensor> {
    const input = { name: this.#pixels, data: pixelValues, rowShape: [3, height, width] };
    const recorded = recorder && { recorder, model: 'CLIP vision' };
    return this.vision.session.run(1, [input], this.#imageEmbeds, [this.embedSize], 'float32', recorded);
  }

  /** Embeddings [1, E] of one text, on the engine's device: the same, to the bit, as the particles' texts have. */
  encodeText(text: string): Promise<NativeTensor> {
    const { ids, mask } = this.tokenize([text]);
    const rowShape = [ids.length];
    const inputs: NativeInput[] = [{ name: this.#tower.input, data: ids, rowShape }];
    if (this.text.takes(attentionMask)) {
      inputs.push({ name: attentionMask, data: mask.length > 0 ? mask : ids.map(() => 1n), rowShape });
    }
    return this.text.session.run(1, inputs, this.#tower.output, [this.embedSize]);
  }

  /**
   * CLIP's ids of `texts`, truncated at its limit. Either every text is padded to the model's width, or each has its own: so its
   * embedding does not depend on the texts beside it.
   */
  tokenize(texts: readonly string[]): TextBatch {
    return this.batch(this.tokenIds(texts));
  }

  /** The ids of each of `texts`, truncated at CLIP's limit and not padded. */
  tokenIds(texts: readonly string[]): number[][] {
    return this.tokenizer.encodeAll(texts.map(this.#clean)).map((ids) => this.#truncate(ids));
  }

  /** The rows of ids of several texts as the engine takes them, one text after the other. */
  batch(rows: readonly number[][]): TextBatch {
    const { padding, maxWidth } = this.#tower;
    const widths = Int32Array.from(rows, (row) => (padding === undefined ? row.length : maxWidth));
    const size = widths.reduce((sum, width) => sum + width, 0);
    const ids = new BigInt64Array(size);
    const mask = new BigInt64Array(padding === undefined ? 0 : size);
    if (padding !== undefined) ids.fill(BigInt(padding.id));
    let end = 0;
    for (const row of rows) {
      const start = padding === undefined ? end : end + (padding.side === 'left' ? maxWidth - row.length : 0);
      let at = start;
      for (const id of row) ids[at++] = BigInt(id); // several times as fast as BigInt64Array.from
      mask.fill(1n, start, at);
      end += padding === undefined ? row.length : maxWidth;
    }
    return { ids, widths, mask };
  }

  /** Whether every text is padded to {@link maxWidth}. */
  get padsTexts(): boolean {
    return this.#tower.padding !== undefined;
  }

  /** Whether CLIP reads less than all of `text`. */
  overflows(text: string): boolean {
    return this.tokenizer.encode(this.#clean(text)).length > this.maxWidth;
  }

  /** Names of the text tower's tensors, for the particle system. */
  textGraph(): NativeTextGraph {
    return {
      session: this.text.session,
      ids: this.#tower.input,
      attentionMask: this.text.takes(attentionMask) ? attentionMask : '',
      embeddings: this.#tower.output,
      maxWidth: this.maxWidth,
    };
  }

  // A token that ends every text stays: CLIP's embedding is read at it.
  #truncate(ids: number[]): number[] {
    if (ids.length <= this.maxWidth) return ids;
    const end = ids.slice(-1).filter((id) => this.tokenizer.specialIds.includes(id));
    return [...ids.slice(0, this.maxWidth - end.length), ...end];
  }
}

const floats = ['float32', 'float16'] as const;
const wholeNumbers = ['int64', 'int32'] as const;

/** Throws `MODEL_INTERFACE` unless the vision tower has the tensors that it must have; `embedSize` is E. */
function checkVision(graph: Graph, config: ClipConfig): Tower & { embedSize: number } {
  const { height = 'height', width = 'width' } = preparedSize(config.preprocessor) ?? {};
  const input = names.pixels.find((name) => graph.takes(name)) ?? names.pixels[0];
  graph.expectInputs([{ name: input, types: floats, axes: ['images', 3, height, width] }]);
  const output = embeddingOf(graph, names.imageEmbeds, config);
  const { shape } = graph.expectOutput({ name: output, types: floats, axes: ['images', 'size'] });
  return { graph, input, output, embedSize: agreeOnAxis(graph, 'the embedding size', shape[1], config.embedSize) };
}

function checkText(graph: Graph, folder: ModelFolder, config: ClipConfig, embedSize: number): TextTower {
  const input = names.ids.find((name) => graph.takes(name)) ?? names.ids[0];
  const inputs = graph.expectInputs(
    [input, ...(graph.takes(attentionMask) ? [attentionMask] : [])].map((name) => ({
      name,
      types: wholeNumbers,
      axes: ['texts', 'width'],
    })),
  );
  const output = embeddingOf(graph, names.textEmbeds, config);
  graph.expectOutput({ name: output, types: floats, axes: ['texts', embedSize] });
  const { maxTokens, padded, padId, padSide: side } = config.text;
  const fixed = inputs.map(({ shape }) => shape[1] ?? -1).find((width) => width !== -1);
  const maxWidth = fixed ?? maxTokens ?? refuseWithoutLimit(folder);
  const isPadded = padded || fixed !== undefined;
  const padding = isPadded ? { id: padId ?? refuseWithoutPadding(folder), side } : undefined;
  return { graph, input, output, maxWidth, padding };
}

/** The output that is the embedding: `pooler_output` only where nothing projects what it gives. */
function embeddingOf(graph: Graph, usual: readonly [string, ...string[]], { poolerIsEmbedding }: ClipConfig): string {
  const all = [...usual, ...(poolerIsEmbedding ? ['pooler_output'] : [])];
  return all.find((name) => graph.gives(name)) ?? usual[0];
}
