import { z } from 'zod';
import type { Clip } from './clip';
import { FkinvError } from './errors';
import { agreeOnAxis, type Graph, type ModelFolder } from './model-folder';
import type { NativeDllmGraph, NativeEngine } from './native';
import { Tokenizer } from './tokenizer';

/** No model has more tokens; a config that claims more is broken. */
const maxVocab = 2 ** 24;

const configSchema = z.looseObject({
  vocab_size: z.int().min(1).max(maxVocab).optional(),
  mask_token_id: z.int().min(0).max(maxVocab),
  eos_token_id: z.union([
    z
      .int()
      .min(0)
      .transform((id) => [id]),
    z.array(z.int().min(0)).min(1),
  ]),
  max_position_embeddings: z.int().min(1).max(4096),
  condition: z
    .strictObject({ input: z.string(), from: z.literal('clip'), absent: z.literal('zeros').optional() })
    .optional(),
});

/** The discrete diffusion language model: `model.onnx`, `config.json` and its tokenizer. */
export class Dllm {
  private constructor(
    readonly model: Graph,
    readonly tokenizer: Tokenizer,
    /** Name of the input that takes CLIP's image embedding; empty where there is none. */
    readonly condition: string,
    /** V: columns of the logits. */
    readonly vocab: number,
    readonly maskId: number,
    /** Ids that end a prompt. */
    readonly stops: number[],
    /** Ids no prompt may hold: [MASK], specials, columns for which the tokenizer has no token. */
    readonly suppressed: number[],
    /** The most positions it takes. */
    readonly maxLength: number,
  ) {}

  static async load(engine: NativeEngine, folder: ModelFolder, clip: Clip): Promise<Dllm> {
    const config = await folder.json('config.json', configSchema);
    const tokenizer = await Tokenizer.load(folder);
    const model = await folder.graph(engine, 'model.onnx');
    const condition = config.condition?.input ?? '';
    const conditionInput = { name: condition, type: 'float32', axes: ['states', clip.embedSize] } as const;
    model.expectInputs([
      { name: 'input_ids', type: 'int64', axes: ['states', 'positions'] },
      ...(condition === '' ? [] : [{ ...conditionInput, axes: [...conditionInput.axes] }]),
    ]);
    const shape = model.expectOutput({ name: 'logits', type: 'float32', axes: ['states', 'positions', 'vocab'] });
    const vocab = agreeOnAxis(model, 'the vocabulary size', shape[2], config.vocab_size);
    const highest = Math.max(tokenizer.size - 1, config.mask_token_id, ...config.eos_token_id);
    if (highest >= vocab) {
      throw new FkinvError(
        'TOKENIZER_MISMATCH',
        `${folder.path}: the tokenizer or config.json has token id ${highest}, the logits have ${vocab} columns: ` +
          'the files are of different models',
      );
    }
    const stops = config.eos_token_id;
    if (stops.includes(config.mask_token_id)) {
      throw new FkinvError('MODEL_INVALID', `${folder.path}/config.json: mask_token_id is among eos_token_id`);
    }
    const noText = Array.from({ length: vocab }, (_, id) => id).filter((id) => !tokenizer.has(id));
    const suppressed = [...new Set([config.mask_token_id, ...tokenizer.specialIds, ...noText])];
    return new Dllm(
      model,
      tokenizer,
      condition,
      vocab,
      config.mask_token_id,
      stops,
      suppressed.filter((id) => !stops.includes(id)),
      config.max_position_embeddings,
    );
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

  /** Names of the graph's tensors, for the particle system. */
  graph(): NativeDllmGraph {
    return {
      session: this.model.session,
      ids: 'input_ids',
      condition: this.condition,
      logits: 'logits',
      vocab: this.vocab,
    };
  }
}
