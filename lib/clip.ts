import { z } from 'zod';
import { FkinvError } from './errors';
import {
  preparedSize,
  prepareImage,
  preprocessorSchema,
  type ImageInput,
  type Preprocessor,
  type PreparedImage,
} from './image';
import { agreeOnAxis, type Graph, type ModelFolder } from './model-folder';
import type { NativeEngine, NativeTensor, NativeTextGraph } from './native';
import { Tokenizer } from './tokenizer';

const configSchema = z.looseObject({
  projection_dim: z.int().min(1).max(65536).optional(),
  text_config: z.looseObject({ max_position_embeddings: z.int().min(1).max(4096).optional() }).optional(),
});

/** CLIP ids of several texts: `ids` [texts, width], padded to the longest of them. */
export interface TextBatch {
  ids: BigInt64Array;
  texts: number;
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

  static async load(engine: NativeEngine, folder: ModelFolder): Promise<Clip> {
    const config = await folder.json('config.json', configSchema);
    const preprocessor = await folder.json('preprocessor_config.json', preprocessorSchema);
    const tokenizer = await Tokenizer.load(folder);
    const maxWidth = config.text_config?.max_position_embeddings ?? tokenizer.maxLength;
    if (maxWidth === undefined || tokenizer.padId === undefined) {
      throw new FkinvError(
        'MODEL_INVALID',
        `${folder.path}/tokenizer_config.json: ${maxWidth === undefined ? 'model_max_length' : 'pad_token'} is missing`,
      );
    }
    const vision = await folder.graph(engine, 'vision_model.onnx');
    const { height = 'height', width = 'width' } = preparedSize(preprocessor) ?? {};
    vision.expectInputs([{ name: 'pixel_values', type: 'float32', axes: ['images', 3, height, width] }]);
    const [, imageSize] = vision.expectOutput({ name: 'image_embeds', type: 'float32', axes: ['images', 'size'] });
    const embedSize = agreeOnAxis(vision, 'the embedding size', imageSize, config.projection_dim);
    const text = await folder.graph(engine, 'text_model.onnx');
    text.expectInputs([{ name: 'input_ids', type: 'int64', axes: ['texts', 'width'] }]);
    text.expectOutput({ name: 'text_embeds', type: 'float32', axes: ['texts', embedSize] });
    return new Clip(vision, text, tokenizer, preprocessor, embedSize, maxWidth);
  }

  /** Decodes and prepares an image as the vision tower takes it. */
  prepare(image: ImageInput): Promise<PreparedImage> {
    return prepareImage(image, this.preprocessor);
  }

  /** Embeddings [1, E] of one image, on the engine's device. */
  encodeImage({ pixelValues, width, height }: PreparedImage): Promise<NativeTensor> {
    const input = { name: 'pixel_values', data: pixelValues, rowShape: [3, height, width] };
    return this.vision.session.run(1, [input], 'image_embeds', [this.embedSize]);
  }

  /** CLIP's ids of `texts`, truncated at its limit and padded to the longest of the call. */
  tokenize(texts: string[]): TextBatch {
    const rows = texts.map((text) => this.#truncate(this.tokenizer.encode(text)));
    const width = rows.reduce((longest, row) => Math.max(longest, row.length), 1);
    const ids = new BigInt64Array(rows.length * width).fill(BigInt(this.tokenizer.padId ?? 0));
    rows.forEach((row, i) => ids.set(row.map(BigInt), i * width));
    return { ids, texts: rows.length };
  }

  /** Whether CLIP reads less than all of `text`. */
  overflows(text: string): boolean {
    return this.tokenizer.encode(text).length > this.maxWidth;
  }

  /** Names of the text tower's tensors, for the particle system. */
  textGraph(): NativeTextGraph {
    return { session: this.text.session, ids: 'input_ids', embeddings: 'text_embeds', maxWidth: this.maxWidth };
  }

  // The end token stays: CLIP's embedding is read at it.
  #truncate(ids: number[]): number[] {
    return ids.length <= this.maxWidth ? ids : [...ids.slice(0, this.maxWidth - 1), ...ids.slice(-1)];
  }
}
