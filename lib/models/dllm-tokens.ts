import { z } from 'zod';
import { FkinvError } from '../errors';
import { Surroundings } from './instruction';
import { manifestName, tokenId, type DllmManifest } from './manifest';
import type { ModelFolder } from './model-folder';
import { tokenSchema, type Tokenizer } from './tokenizer';

/** Fields of `config.json` about tokens. */
export const tokenFields = {
  mask_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId.transform((id) => [id]), z.array(tokenId).min(1)]).nullish(),
};
type TokenConfig = z.output<z.ZodObject<typeof tokenFields>>;

const specialsSchema = z.looseObject({ mask_token: tokenSchema.nullish(), eos_token: tokenSchema.nullish() });

/** The ids that the files of a folder give a meaning to. */
export interface Tokens {
  maskId: number;
  stops: number[];
  /** Ids that the manifest suppresses; {@link suppressedIds} has the others too. */
  suppressed: number[];
  /** What stands around the prompt positions, the instruction among it. */
  surroundings: Surroundings;
  /** What stands before an image's own ids, behind the prefix; undefined where the model takes no ids of an image. */
  image: { before: number[]; offset: number } | undefined;
}

/**
 * Reads a folder's {@link Tokens}; a text of the manifest is encoded without special tokens. Throws `MODEL_NOT_FOUND` or
 * `MODEL_INVALID`.
 */
export async function readTokens(
  folder: ModelFolder,
  config: TokenConfig,
  manifest: DllmManifest,
  tokenizer: Tokenizer,
): Promise<Tokens> {
  const files = ['tokenizer_config.json', 'special_tokens_map.json'] as const;
  const specials = await Promise.all(files.map((file) => folder.optionalJson(file, specialsSchema)));
  const special = (field: 'mask_token' | 'eos_token'): number[] => {
    const at = specials.findIndex((tokens) => tokens[field] != null);
    const token = specials[at]?.[field];
    return token == null ? [] : [oneId(folder, tokenizer, `${files[at] ?? ''}: ${field}`, token)];
  };
  const encode = (given: string | number[]): number[] =>
    typeof given === 'string' ? tokenizer.encode(given, { specials: false }) : given;
  const absent = (what: string, key: string, field: string, token: string): never => {
    throw new FkinvError(
      'MODEL_INVALID',
      `${folder.path}: ${what} is not known: give ${key} in ${manifestName}, ${field} in config.json, or ${token} in ` +
        files.join(' or '),
    );
  };
  const maskId = manifest.maskId ?? config.mask_token_id ?? special('mask_token')[0];
  const stops = manifest.stopIds ?? config.eos_token_id ?? special('eos_token');
  const tokens = {
    maskId: maskId ?? absent('the id of [MASK]', 'maskId', 'mask_token_id', 'mask_token'),
    stops: stops.length > 0 ? stops : absent('the id that ends a prompt', 'stopIds', 'eos_token_id', 'eos_token'),
    suppressed: manifest.suppressedIds,
    surroundings: surroundingsOf(folder, manifest, tokenizer),
    image: imageTokens(manifest, encode),
  };
  checkTokens(folder, tokens, manifest.logitShift);
  return tokens;
}

function surroundingsOf(folder: ModelFolder, manifest: DllmManifest, tokenizer: Tokenizer): Surroundings {
  try {
    return new Surroundings(manifest, tokenizer);
  } catch (cause) {
    if (!(cause instanceof FkinvError) || cause.code !== 'INVALID_OPTION') throw cause;
    throw new FkinvError('MODEL_INVALID', `${folder.file(manifestName)}: ${cause.message}`, { cause });
  }
}

function imageTokens({ condition }: DllmManifest, encode: (given: string | number[]) => number[]): Tokens['image'] {
  if (typeof condition !== 'object' || !('prefix' in condition)) return undefined;
  const { before, offset } = condition.prefix;
  return { before: encode(before), offset };
}

function oneId(folder: ModelFolder, tokenizer: Tokenizer, place: string, token: string): number {
  const [id] = tokenizer.encode(token, { specials: false });
  if (id !== undefined && tokenizer.token(id) === token) return id; // else it is a part of `token`, or the unknown token
  throw new FkinvError(
    'MODEL_INVALID',
    `${folder.file(place)} ${JSON.stringify(token)} is not one token of the tokenizer`,
  );
}

function checkTokens(
  folder: ModelFolder,
  { maskId, stops, suppressed, surroundings, image }: Tokens,
  shift: number,
): void {
  const fail = (file: string, what: string): never => {
    throw new FkinvError('MODEL_INVALID', `${folder.file(file)}: ${what}`);
  };
  if (stops.includes(maskId)) {
    fail('config.json', `mask_token_id is among eos_token_id, or in ${manifestName} maskId among stopIds: ${maskId}`);
  }
  const both = suppressed.find((id) => stops.includes(id));
  if (both !== undefined) fail(manifestName, `suppressedIds has ${both}, which is a stop id`);
  if (shift > surroundings.own.prefix.length && image === undefined) {
    fail(
      manifestName,
      'logitShift is 1 and prefix is empty: no row predicts the first position. Give the token it follows',
    );
  }
}

/** Throws `TOKENIZER_MISMATCH` unless there is a column of the logits for every id. */
export function checkColumns(folder: ModelFolder, tokenizer: Tokenizer, tokens: Tokens, vocab: number): void {
  const { maskId, stops, suppressed, surroundings, image } = tokens;
  const { prefix, suffix, after } = surroundings.own;
  const ofImage = image === undefined ? [] : [...image.before, image.offset, ...after];
  const ids = [tokenizer.size - 1, maskId, ...stops, ...suppressed, ...prefix, ...suffix, ...ofImage];
  const highest = ids.reduce((a, b) => Math.max(a, b));
  if (highest < vocab) return;
  throw new FkinvError(
    'TOKENIZER_MISMATCH',
    `${folder.path}: the tokenizer, config.json or ${manifestName} has token id ${highest}, the logits have ${vocab} ` +
      'columns: the files are of different models',
  );
}

/** The dLLM's ids of an image for which the graph `file` gave `ids`. Throws `MODEL_INVALID` where one has no column. */
export function imageIds({ image }: Tokens, ids: bigint[], vocab: number, file: string): number[] {
  const offset = image?.offset ?? 0;
  const outside = ids.find((id) => id < 0n || id + BigInt(offset) >= vocab);
  if (outside === undefined) return ids.map((id) => Number(id) + offset);
  throw new FkinvError(
    'MODEL_INVALID',
    `${file} gave the id ${outside} for an image: with the offset ${offset} of ${manifestName} it is none of the ` +
      `${vocab} ids of the dLLM`,
  );
}

/** Ids that no prompt may hold. */
export function suppressedIds(tokenizer: Tokenizer, { maskId, stops, suppressed }: Tokens, vocab: number): number[] {
  const noText = Array.from({ length: vocab }, (_, id) => id).filter((id) => !tokenizer.has(id));
  const all = new Set([maskId, ...tokenizer.specialIds, ...noText, ...suppressed]);
  return [...all].filter((id) => !stops.includes(id));
}
