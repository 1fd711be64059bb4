import * as huggingFace from '@huggingface/tokenizers';
import { z } from 'zod';
import { FkinvError, messageOf } from './errors';
import type { ModelFolder } from './model-folder';

/** The part of the library's Tokenizer that is used: its own declarations do not resolve under Node's rules. */
interface HuggingFaceTokenizer {
  encode(text: string): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
  get_vocab(): Map<string, number>;
  get_added_tokens_decoder(): Map<number, { id: number; special: boolean }>;
}
const { Tokenizer: HuggingFaceTokenizer } = huggingFace as unknown as {
  Tokenizer: new (json: object, config: object) => HuggingFaceTokenizer;
};

const tokenSchema = z.union([z.string(), z.object({ content: z.string() }).transform((token) => token.content)]);
const configSchema = z.looseObject({ pad_token: tokenSchema.nullish(), model_max_length: z.number().nullish() });

/** A model's own tokenizer: its `tokenizer.json` and `tokenizer_config.json`. */
export class Tokenizer {
  readonly #tokenizer: HuggingFaceTokenizer;
  /** One more than the highest id. */
  readonly size: number;
  /** Ids that are no text. */
  readonly specialIds: number[];
  /** Id that fills a row of shorter texts, where the config names one. */
  readonly padId: number | undefined;
  /** The longest text in tokens, where the config gives one that a model can have. */
  readonly maxLength: number | undefined;

  private constructor(tokenizer: HuggingFaceTokenizer, config: z.output<typeof configSchema>) {
    this.#tokenizer = tokenizer;
    const ids = [...tokenizer.get_vocab().values()];
    this.size = ids.reduce((highest, id) => Math.max(highest, id), -1) + 1;
    this.specialIds = [...tokenizer.get_added_tokens_decoder().values()]
      .filter(({ special }) => special)
      .map(({ id }) => id);
    this.padId = config.pad_token == null ? undefined : tokenizer.token_to_id(config.pad_token);
    const longest = config.model_max_length ?? Infinity;
    this.maxLength = longest < 1e6 ? longest : undefined; // "no limit" is written as 1e30
  }

  static async load(folder: ModelFolder): Promise<Tokenizer> {
    const json = await folder.json('tokenizer.json', z.looseObject({ model: z.looseObject({}) }));
    const config = await folder.json('tokenizer_config.json', configSchema);
    try {
      return new Tokenizer(new HuggingFaceTokenizer(json, config), config);
    } catch (cause) {
      throw new FkinvError(
        'MODEL_INVALID',
        `${folder.path}/tokenizer.json is of no kind that is known: ${messageOf(cause)}`,
        {
          cause,
        },
      );
    }
  }

  /** Token ids of `text`, with the model's own special tokens around it; neither padded nor truncated. */
  encode(text: string): number[] {
    return this.#tokenizer.encode(text).ids;
  }

  /** Text of `ids`, special tokens left out. */
  decode(ids: number[]): string {
    return ids.length === 0 ? '' : this.#tokenizer.decode(ids, { skip_special_tokens: true });
  }
}
