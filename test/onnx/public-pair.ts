// The public pair of the README, as its two repositories lay it out, with other weights: a CLIP in the `onnx` of its folder, and a
// masked diffusion model of Qwen3's vocabulary without config.json.
import { cp, mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Repository } from '../helpers/hub';
import { onnxFile } from './builder';
import { wideGraph, word } from './models';

const models = path.join(__dirname, '..', '..', 'models');

/** Columns of its logits, and what stands at the end of its tokens. */
const vocab = 151936;
const added = {
  '<|endoftext|>': 151643,
  '<|im_start|>': 151644,
  '<|im_end|>': 151645,
  '<think>': 151667,
  '</think>': 151668,
  '<|mask|>': 151669,
};

/** The characters that stand for the bytes in a byte-level BPE, as GPT-2 has them. */
function byteCharacters(): string[] {
  const isPrinted = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrinted(byte) ? byte : next++));
}

function tokenizer(): object {
  const words = Array.from({ length: 151643 - 256 }, (_, i) => `Ġ${word(i)}`);
  const level = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    added_tokens: Object.entries(added).map(([content, id]) => ({
      id,
      content,
      special: !content.includes('think'),
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: null,
    pre_tokenizer: level,
    post_processor: null,
    decoder: level,
    model: {
      type: 'BPE',
      ignore_merges: true,
      merges: [],
      vocab: Object.fromEntries([...byteCharacters(), ...words].map((token, id) => [token, id])),
    },
  };
}

/** Makes both in `folder`, and gives them by their names on the Hub. */
export async function publicPair(folder: string): Promise<Record<string, Repository>> {
  const [clip, dllm] = [path.join(folder, 'clip'), path.join(folder, 'dllm')];
  await cp(path.join(models, 'clip'), clip, { recursive: true });
  await mkdir(path.join(clip, 'onnx'));
  for (const tower of ['vision_model.onnx', 'text_model.onnx']) {
    await rename(path.join(clip, tower), path.join(clip, 'onnx', tower));
  }
  await mkdir(path.join(dllm, 'onnx'), { recursive: true });
  const temptations = Array.from({ length: vocab - 151643 }, (_, i) => 151643 + i);
  const graph = wideGraph({ vocab, maxLength: 512, type: 'float32', temptations, seed: 13 });
  await writeFile(path.join(dllm, 'onnx', 'model_q4f16_rtn_sym.onnx'), onnxFile(graph));
  await writeFile(path.join(dllm, 'tokenizer.json'), JSON.stringify(tokenizer()));
  const config = { eos_token: '<|im_end|>', mask_token: '<|mask|>', clean_up_tokenization_spaces: false };
  await writeFile(path.join(dllm, 'tokenizer_config.json'), JSON.stringify(config));
  return {
    'Xenova/clip-vit-base-patch32': { folder: clip },
    'naklitechie/Qwen3-0.6B-diffusion-mdlm-ONNX': { folder: dllm, licence: 'apache-2.0' },
  };
}
