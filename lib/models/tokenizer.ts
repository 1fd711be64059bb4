import * as huggingFace from '@huggingface/tokenizers';
import path from 'node:path';
import { z } from 'zod';
import { FkinvError, messageOf } from '../errors';
import { within } from '../util/deadline';
import type { ModelFolder } from './model-folder';
import { usualSigma } from './text-rules';

/** The part of the library's Tokenizer that is used: its own declarations do not resolve under Node's rules. */
interface HuggingFaceTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_vocab(): Map<string | undefined, number>;
  get_added_tokens_decoder(): Map<number, { id: number; content: string; special: boolean }>;
}
const { Tokenizer: HuggingFaceTokenizer } = huggingFace as unknown as {
  Tokenizer: new (json: object, config: object) => HuggingFaceTokenizer;
};

/** A greater model_max_length means that there is no limit: Hugging Face writes that as 1e30. */
const noLimit = 1e6;

/** Milliseconds that encoding the texts of a step, or decoding one, may take in all: with a sound tokenizer it takes a few. */
const mostMilliseconds = 1000;

/** A token as tokenizer_config.json writes it, by itself or with its properties. */
export const tokenSchema = z.union([z.string(), z.object({ content: z.string() }).transform((token) => token.content)]);
const configSchema = z.looseObject({
  pad_token: tokenSchema.nullish(),
  padding_side: z.enum(['left', 'right']).nullish(),
  tokenizer_class: z.string().nullish(),
  do_lower_case: z.boolean().nullish(),
  model_max_length: z
    .number()
    .min(1)
    .refine((longest) => Number.isInteger(longest) || longest > noLimit, 'must be a whole number')
    .nullish(),
});

/** The parts of tokenizer.json that may have regular expressions of the model's own. */
const jsonSchema = z.looseObject({
  model: z.looseObject({ unk_token: z.string().nullish(), unk_id: z.int().nullish() }),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  decoder: z.unknown(),
});

/**
 * Whether a regular expression may take long over a short text. One without groups, each of whose alternatives repeats one thing at
 * most, as CLIP's own is, tries no text in more ways than it has pairs of places.
 */
function mayBacktrack(pattern: string): boolean {
  const bare = pattern.replaceAll(/\\[pP]\{[^}]*\}|\\./g, 'c').replaceAll(/\[[^\]]*\]/g, 'c');
  return bare.includes('(') || bare.split('|').some((alternative) => /[*+?{].*[*+?{]/.test(alternative));
}

/** Whether a part of tokenizer.json has such a regular expression, at any depth. */
function hasSlowRegex(part: unknown): boolean {
  if (typeof part !== 'object' || part === null) return false;
  return Object.entries(part).some(([key, value]) =>
    key === 'Regex' && typeof value === 'string' ? mayBacktrack(value) : hasSlowRegex(value),
  );
}

/** Whether a normalizer of tokenizer.json makes letters small, at any depth. */
function makesSmall(normalizer: unknown): boolean {
  if (typeof normalizer !== 'object' || normalizer === null) return false;
  return Object.values(normalizer).some((part) => part === 'Lowercase' || makesSmall(part));
}

/** A model's own tokenizer: its `tokenizer.json` and `tokenizer_config.json`. */
export class Tokenizer {
  readonly #tokenizer: HuggingFaceTokenizer;
  readonly #ids: Set<number>;
  /** Where the model's own regular expressions run: some take longer than anyone waits, so those run under a time limit. */
  readonly #mayBacktrack: { encoding: boolean; decoding: boolean };
  readonly #makesSmall: boolean;
  #spacedIds: number[] | undefined;
  /** One more than the highest id. */
  readonly size: number;
  /** Ids that are no text. */
  readonly specialIds: number[];
  /** Tokens that are looked for in a text before it is split, special ones or not. */
  readonly addedTokens: readonly { id: number; content: string }[];
  /** Id that a text comes to for which there is no other; undefined where there is none. */
  readonly unknownId: number | undefined;
  /** Id that fills a row of shorter texts, where the config names one. */
  readonly padId: number | undefined;
  /** The side on which they are filled, where the config gives one. */
  readonly padSide: 'left' | 'right' | undefined;
  /** What `transformers` calls its kind, such as `SiglipTokenizer`; empty where the config does not say. */
  readonly className: string;
  /** Whether it makes letters small, where the config says so. */
  readonly lowers: boolean | undefined;
  /** The longest text in tokens, where the config gives one that a model can have. */
  readonly maxLength: number | undefined;

  private constructor(
    tokenizer: HuggingFaceTokenizer,
    { model, normalizer, pre_tokenizer, decoder }: z.output<typeof jsonSchema>,
    config: z.output<typeof configSchema>,
    readonly file: string,
  ) {
    this.#tokenizer = tokenizer;
    this.#mayBacktrack = {
      encoding: hasSlowRegex([normalizer, pre_tokenizer]),
      decoding: hasSlowRegex(decoder),
    };
    this.#makesSmall = makesSmall(normalizer);
    // The library's vocabulary lists an id that no token has as that of an undefined token.
    const tokens = [...tokenizer.get_vocab()].filter(([token]) => token !== undefined);
    this.#ids = new Set(tokens.map(([, id]) => id));
    this.size = [...this.#ids].reduce((highest, id) => Math.max(highest, id), -1) + 1;
    const added = [...tokenizer.get_added_tokens_decoder().values()];
    this.addedTokens = added.map(({ id, content }) => ({ id, content }));
    const { unk_token, unk_id } = model;
    this.unknownId = unk_token == null ? (unk_id ?? undefined) : tokenizer.token_to_id(unk_token);
    this.specialIds = added.filter(({ special }) => special).map(({ id }) => id);
    this.padId = config.pad_token == null ? undefined : tokenizer.token_to_id(config.pad_token);
    this.padSide = config.padding_side ?? undefined;
    this.className = config.tokenizer_class?.replace(/Fast$/, '') ?? '';
    this.lowers = config.do_lower_case ?? undefined;
    const longest = config.model_max_length ?? Infinity;
    this.maxLength = longest < noLimit ? longest : undefined;
  }

  /** Loads the tokenizer in `inside`, a folder in the model's; default that itself. */
  static async load(folder: ModelFolder, inside = ''): Promise<Tokenizer> {
    const json = await folder.json(path.join(inside, 'tokenizer.json'), jsonSchema);
    const config = await folder.json(path.join(inside, 'tokenizer_config.json'), configSchema);
    const file = folder.file(path.join(inside, 'tokenizer.json'));
    try {
      return new Tokenizer(new HuggingFaceTokenizer(json, config), json, config, file);
    } catch (cause) {
      throw new FkinvError('MODEL_INVALID', `${file} is of no kind that is known: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  /** Whether `id` is a token. */
  has(id: number): boolean {
    return this.#ids.has(id);
  }

  /** The token `id` as the vocabulary writes it; empty where there is none. */
  token(id: number): string {
    return this.#tokenizer.id_to_token(id) ?? '';
  }

  /** Ids of the tokens whose text begins with a space. */
  get spacedIds(): readonly number[] {
    // This decodes the whole vocabulary, so it is done once, and only when somebody asks.
    this.#spacedIds ??= [...this.#ids].filter((id) => this.decode([id]).startsWith(' '));
    return this.#spacedIds;
  }

  /**
   * Token ids of `text`, with the model's own special tokens around it unless `specials` is false; neither padded nor
   * truncated. Throws `MODEL_INVALID` where a part of it has no token and the tokenizer has none for the unknown, or where
   * a regular expression of the tokenizer does not come to an end.
   */
  encode(text: string, options: { specials?: boolean } = {}): number[] {
    return this.encodeAll([text], options)[0] ?? [];
  }

  /** Encodes several texts as encode() does each, under one time limit, which costs less. */
  encodeAll(texts: readonly string[], { specials = true }: { specials?: boolean } = {}): number[][] {
    let current = '';
    const encode = (): number[][] => texts.map((text) => this.#encode((current = text), specials));
    if (!this.#mayBacktrack.encoding || texts.length === 0) return encode();
    return within(mostMilliseconds, encode, undefined) ?? this.#refuseToWait(current);
  }

  #encode(text: string, specials: boolean): number[] {
    const given = this.#makesSmall ? usualSigma(text) : text;
    const { ids } = this.#tokenizer.encode(given, { add_special_tokens: specials }) as { ids: (number | undefined)[] };
    return ids.map((id) => {
      if (id !== undefined) return id;
      throw new FkinvError(
        'MODEL_INVALID',
        `${this.file}: the tokenizer has no token for a part of ${JSON.stringify(text)}, and none for the unknown`,
      );
    });
  }

  /** Text of `ids`, special tokens left out. Throws `MODEL_INVALID` as encode() does. */
  decode(ids: number[]): string {
    if (ids.length === 0) return '';
    const decode = (): string => this.#tokenizer.decode(ids, { skip_special_tokens: true });
    if (!this.#mayBacktrack.decoding) return decode();
    return within(mostMilliseconds, decode, undefined) ?? this.#refuseToWait(`ids ${ids.join(' ')}`);
  }

  #refuseToWait(what: string): never {
    throw new FkinvError(
      'MODEL_INVALID',
      `${this.file}: a regular expression of the tokenizer takes over ${mostMilliseconds / 1000} s for ` +
        `${JSON.stringify(what)}: it backtracks, write it without repetitions inside repetitions`,
    );
  }
}
