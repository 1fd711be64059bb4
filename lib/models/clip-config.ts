import path from 'node:path';
import { z } from 'zod';
import { FkinvError } from '../errors';
import { openClipPreprocessorSchema, preprocessorSchema, type Preprocessor } from '../images/preprocessor';
import { manifestName, type ClipManifest } from './manifest';
import type { ModelFolder } from './model-folder';
import { cleanText, type CleanText } from './text-rules';
import { Tokenizer } from './tokenizer';

// What the files beside a CLIP's graphs say, in either layout: that of Hugging Face's exports, or that of open_clip's models as
// immich exports them.

/** How a text becomes a row of ids. */
export interface TextConfig {
  tokenizer: Tokenizer;
  clean: CleanText;
  /** The most tokens of a text; undefined where no file says it. */
  maxTokens: number | undefined;
  /** Whether the model was trained on texts that are padded to `maxTokens`, and sees their padding. */
  padded: boolean;
  /** Id of padding; undefined where no file says it. */
  padId: number | undefined;
  padSide: 'left' | 'right';
}

/** What a CLIP folder says beside its graphs. */
export interface ClipConfig {
  /** Whether `pooler_output` is an embedding: a SigLIP projects in its head, a CLIP behind it. */
  poolerIsEmbedding: boolean;
  preprocessor: Preprocessor;
  /** E, where a file says it. */
  embedSize: number | undefined;
  text: TextConfig;
}

const size = z.int().min(1).max(65536).optional();

const huggingFaceSchema = z.looseObject({
  model_type: z.string().optional(),
  projection_dim: size,
  text_config: z
    .looseObject({
      max_position_embeddings: z.int().min(1).max(8192).optional(),
      pad_token_id: z.int().min(0).nullish(),
    })
    .optional(),
});

const openClipModel = z.looseObject({
  embed_dim: size.unwrap(),
  text_cfg: z.looseObject({
    context_length: z.int().min(1).max(8192).default(77),
    hf_tokenizer_name: z.string().nullish(),
    no_causal_mask: z.boolean().default(false),
    tokenizer_kwargs: z
      .looseObject({
        clean: z.enum(['canonicalize', 'lower', 'whitespace']).optional(),
        strip_sep_token: z.literal(false, { error: 'is not known here' }).optional(),
        tokenizer_mode: z.null({ error: 'is not known here' }).optional(),
      })
      .nullish(),
  }),
});

const anySchema = z.looseObject({});

/** Widths of SigLIP's texts, which `transformers` leaves out of a config that has them by default. */
const siglipTokens = 64;

/** Reads what `folder` says. Throws `MODEL_NOT_FOUND`, `MODEL_INVALID` or `MODEL_INTERFACE`. */
export async function readClipConfig(folder: ModelFolder, manifest: ClipManifest): Promise<ClipConfig> {
  const config = await folder.json('config.json', anySchema);
  const isOpenClip = 'text_cfg' in config || 'model_cfg' in config;
  const { text, ...rest } = await (isOpenClip ? readOpenClip(folder) : readHuggingFace(folder));
  const { maxTokens = text.maxTokens, padded = text.padded, padId = text.padId } = manifest;
  return { ...rest, text: { ...text, maxTokens, padded, padId } };
}

async function readHuggingFace(folder: ModelFolder): Promise<ClipConfig> {
  const { model_type = '', projection_dim, text_config } = await folder.json('config.json', huggingFaceSchema);
  const preprocessor = await readPreprocessor(folder);
  const tokenizer = await Tokenizer.load(folder);
  const isSiglip = model_type.startsWith('siglip');
  const limits = [text_config?.max_position_embeddings, tokenizer.maxLength].filter((limit) => limit !== undefined);
  const most = Math.min(...limits);
  return {
    poolerIsEmbedding: isSiglip,
    preprocessor,
    embedSize: projection_dim,
    text: {
      tokenizer,
      clean: cleanOf(tokenizer, isSiglip),
      maxTokens: limits.length > 0 ? most : isSiglip ? siglipTokens : undefined,
      padded: isSiglip,
      padId: tokenizer.padId ?? text_config?.pad_token_id ?? undefined,
      // The classes of Gemma's tokenizer pad on the left unless they are told.
      padSide: tokenizer.padSide ?? (/^(Siglip2|Gemma)/.test(tokenizer.className) ? 'left' : 'right'),
    },
  };
}

/** What the tokenizer's class in `transformers` does before its tokenizer.json. */
function cleanOf({ className, lowers = true }: Tokenizer, isSiglip: boolean): CleanText {
  if (className === 'SiglipTokenizer') return lowers ? cleanText.SiglipTokenizer : cleanText.none;
  if (className === 'Siglip2Tokenizer') return cleanText.Siglip2Tokenizer;
  if (!isSiglip) return cleanText.none;
  // Exports of SigLIPs name the class whose vocabulary theirs has.
  if (className === 'T5Tokenizer') return cleanText.canonicalize;
  return className === 'GemmaTokenizer' ? cleanText.Siglip2Tokenizer : cleanText.none;
}

async function readPreprocessor(folder: ModelFolder): Promise<Preprocessor> {
  const name = 'preprocessor_config.json';
  const given = await folder.json(name, anySchema);
  if ('max_num_patches' in given || String(given['image_processor_type']).startsWith('Siglip2')) {
    throw new FkinvError(
      'MODEL_INTERFACE',
      `${folder.file(name)} is of a NaFlex SigLIP 2, which takes pictures as lists of patches: take a SigLIP 2 of a fixed ` +
        'resolution, such as siglip2-base-patch16-224',
    );
  }
  // jina's processor has open_clip's fields.
  return 'mean' in given && !('image_mean' in given)
    ? folder.json(name, openClipPreprocessorSchema)
    : folder.json(name, preprocessorSchema);
}

async function readOpenClip(folder: ModelFolder): Promise<ClipConfig> {
  const isNested = 'model_cfg' in (await folder.json('config.json', anySchema));
  const schema = isNested
    ? z.looseObject({ model_cfg: openClipModel }).transform(({ model_cfg }) => model_cfg)
    : openClipModel;
  const { embed_dim, text_cfg } = await folder.json('config.json', schema);
  const { context_length, hf_tokenizer_name, no_causal_mask, tokenizer_kwargs } = text_cfg;
  const preprocessor = await folder.json(path.join('visual', 'preprocess_cfg.json'), openClipPreprocessorSchema);
  const tokenizer = await Tokenizer.load(folder, 'textual');
  const isOwn = hf_tokenizer_name == null;
  return {
    poolerIsEmbedding: false,
    preprocessor,
    embedSize: embed_dim,
    text: {
      tokenizer,
      clean: cleanText[tokenizer_kwargs?.clean ?? (isOwn ? 'lower' : 'whitespace')],
      maxTokens: context_length,
      padded: !isOwn || no_causal_mask,
      // open_clip's own tokenizer fills its rows with 0, whatever its tokenizer.json was made to do elsewhere.
      padId: isOwn ? 0 : tokenizer.padId,
      padSide: isOwn ? 'right' : (tokenizer.padSide ?? 'right'),
    },
  };
}

/** Throws `MODEL_INVALID`: no file of `folder` says the most tokens of a text. */
export function refuseWithoutLimit(folder: ModelFolder): never {
  throw new FkinvError(
    'MODEL_INVALID',
    `${folder.file('tokenizer_config.json')}: model_max_length is missing, and so are text_config.max_position_embeddings of ` +
      `config.json and maxTokens of ${manifestName}: one of them has to give the most tokens of a text`,
  );
}

/** Throws `MODEL_INVALID`: texts have to be padded, and no file of `folder` says with what. */
export function refuseWithoutPadding(folder: ModelFolder): never {
  throw new FkinvError(
    'MODEL_INVALID',
    `${folder.file('tokenizer_config.json')}: pad_token is missing, and so are text_config.pad_token_id of config.json and padId ` +
      `of ${manifestName}: one of them has to give the token that texts are padded with`,
  );
}
