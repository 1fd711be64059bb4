import { z } from 'zod';
import { FkinvError } from '../errors';
import type { PreparedImage } from '../images/pixels';
import { preparedSize, preprocessorSchema, type Preprocessor } from '../images/preprocessor';
import { agreeOnAxis, type Graph } from './graph';
import { clipGraph, clipManifest, readManifest } from './manifest';
import type { ModelFolder } from './model-folder';
import type { NativeEngine, NativeRecorder, NativeTensor, NativeTextGraph } from '../native/addon';
import { Tokenizer } from './tokenizer';

const configSchema = z.looseObject({
  projection_dim: z.int().min(1).max(65536).optional(),
  text_config: z.looseObject({ max_position_embeddings: z.int().min(1).max(4096).optional() }).optional(),
});
type Config = z.output<typeof configSchema>;

/** CLIP ids of several texts: `ids`, one text after the other, text i `widths[i]` of them. */
export interface TextBatch {
  ids: BigInt64Array;
  widths: Int32Array;
}

/** CLIP's two towers and what goes before them. The folder is laid out as Hugging Face's ONNX exports are. */
export class Clip {
  private constructor(
    readonly vision: Graph,
    readonly text: Graph,
    readonly tokenizer: Tokenizer,
    readonly preprocessor: Preprocessor,
    /** E: floats of an embedding. */
    readonly embedSize: number,
    /** CLIP's own limit on a text, in its tokens. */
    readonly maxWidth: number,
  ) {}

  /**
   * Loads both towers onto `engine`.
   * @throws FkinvError `MODEL_NOT_FOUND`, `MODEL_INVALID` or `MODEL_INTERFACE`
   */
  static async load(engine: NativeEngine, folder: ModelFolder): Promise<Clip> {
    const config = await folder.json('config.json', configSchema);
    const preprocessor = await folder.json('preprocessor_config.json', preprocessorSchema);
    const manifest = await readManifest(folder, clipManifest);
    const tokenizer = await Tokenizer.load(folder);
    const maxWidth = limitOf(config, tokenizer, folder);
    const vision = await folder.graph(engine, clipGraph(manifest, 'vision'));
    const embedSize = checkVision(vision, preprocessor, config);
    const text = await folder.graph(engine, clipGraph(manifest, 'text'));
    checkText(text, embedSize);
    return new Clip(vision, text, tokenizer, preprocessor, embedSize, maxWidth);
  }

  /** Embeddings [1, E] of one image, prepared as `preprocessor` says, on the engine's device. */
  encodeImage({ pixelValues, width, height }: PreparedImage, recorder?: NativeRecorder): Promise<NativeTensor> {
    const input = { name: 'pixel_values', data: pixelValues, rowShape: [3, height, width] };
    const recorded = recorder && { recorder, model: 'CLIP vision' };
    return this.vision.session.run(1, [input], 'image_embeds', [this.embedSize], 'float32', recorded);
  }

  /**
   * CLIP's ids of `texts`, truncated at its limit. They are not padded: each text runs at its own width, so that its embedding
   * does not depend on the texts beside it.
   */
  tokenize(texts: readonly string[]): TextBatch {
    return this.batch(this.tokenIds(texts));
  }

  /** The ids of each of `texts`, truncated at CLIP's limit. */
  tokenIds(texts: readonly string[]): number[][] {
    return this.tokenizer.encodeAll(texts).map((ids) => this.#truncate(ids));
  }

  /** The rows of ids of several texts as the engine takes them, one text after the other. */
  batch(rows: readonly number[][]): TextBatch {
    const widths = Int32Array.from(rows, (row) => row.length);
    const ids = new BigInt64Array(widths.reduce((sum, width) => sum + width, 0));
    let at = 0;
    for (const row of rows) for (const id of row) ids[at++] = BigInt(id); // several times as fast as BigInt64Array.from
    return { ids, widths };
  }

  /** Whether CLIP reads less than all of `text`. */
  overflows(text: string): boolean {
    return this.tokenizer.encode(text).length > this.maxWidth;
  }

  /** Names of the text tower's tensors, for the particle system. */
  textGraph(): NativeTextGraph {
    return {
      session: this.text.session,
      ids: 'input_ids',
      attentionMask: this.text.takes('attention_mask') ? 'attention_mask' : '',
      embeddings: 'text_embeds',
      maxWidth: this.maxWidth,
    };
  }

  // The end token stays: CLIP's embedding is read at it.
  #truncate(ids: number[]): number[] {
    return ids.length <= this.maxWidth ? ids : [...ids.slice(0, this.maxWidth - 1), ...ids.slice(-1)];
  }
}

/** The most tokens a text may have: what the position embeddings have room for, or the tokenizer says if that is less. */
function limitOf({ text_config }: Config, tokenizer: Tokenizer, folder: ModelFolder): number {
  const limit = Math.min(text_config?.max_position_embeddings ?? Infinity, tokenizer.maxLength ?? Infinity);
  if (limit !== Infinity) return limit;
  throw new FkinvError('MODEL_INVALID', `${folder.file('tokenizer_config.json')}: model_max_length is missing`);
}

/** Throws `MODEL_INTERFACE` unless the vision tower has the tensors that it must have; returns E, the floats of an embedding. */
function checkVision(vision: Graph, preprocessor: Preprocessor, { projection_dim }: Config): number {
  const { height = 'height', width = 'width' } = preparedSize(preprocessor) ?? {};
  vision.expectInputs([{ name: 'pixel_values', types: ['float32'], axes: ['images', 3, height, width] }]);
  const { shape } = vision.expectOutput({ name: 'image_embeds', types: ['float32'], axes: ['images', 'size'] });
  return agreeOnAxis(vision, 'the embedding size', shape[1], projection_dim);
}

function checkText(text: Graph, embedSize: number): void {
  const names = ['input_ids', ...(text.takes('attention_mask') ? ['attention_mask'] : [])];
  const inputs = text.expectInputs(names.map((name) => ({ name, types: ['int64'], axes: ['texts', 'width'] })));
  text.expectOutput({ name: 'text_embeds', types: ['float32'], axes: ['texts', embedSize] });
  const fixed = inputs.map(({ shape }) => shape[1] ?? -1).find((width) => width !== -1);
  if (fixed === undefined) return;
  text.refuse(`takes texts of ${fixed} tokens only: each runs at its own width, export it with that axis dynamic`);
}
