// The two public dLLMs of Qwen3-0.6B in ONNX, as their repository has them, at a small width and with random weights: vocabulary, ids,
// names of files and inputs are theirs.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { attentiveGraph } from './attentive';
import { onnxFile } from './builder';
import { tokenizer, word } from './models';

/** `mdlm` has full attention, `bd3lm` takes a matrix as its mask. */
export type Kind = 'mdlm' | 'bd3lm';

const vocab = 151936;
const named = { '<|endoftext|>': 151643, '<|im_start|>': 151644, '<|im_end|>': 151645, '<|mask|>': 151669 };
const thoughts = { '<think>': 151667, '</think>': 151668 };

/** Writes the files of naklitechie/Qwen3-0.6B-diffusion-`kind`-ONNX, which has no config.json and no onnx/model.onnx. */
export async function qwen3Diffusion(folder: string, kind: Kind): Promise<void> {
  await mkdir(path.join(folder, 'onnx'), { recursive: true });
  const graph = attentiveGraph(kind === 'bd3lm' ? { matrix: 'float32', states: 1 } : {}, { vocab, longest: 256 });
  for (const name of ['model_fp16_fused', 'model_q4f16_rtn_sym']) {
    await writeFile(path.join(folder, 'onnx', `${name}.onnx`), onnxFile(graph));
  }
  const write = (name: string, content: object): Promise<void> =>
    writeFile(path.join(folder, name), JSON.stringify(content));
  await write('tokenizer.json', tokenizerFile());
  await write('tokenizer_config.json', { eos_token: '<|im_end|>', pad_token: '<|endoftext|>', mask_token: '<|mask|>' });
}

/** The letters that bytes are written as, then words with a space before them, then what is added: special tokens, and thoughts that are none. */
function tokenizerFile(): object {
  const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).concat('Ġ', 'Ċ');
  const ids = { ...named, ...thoughts } as Record<string, number>;
  const tokens = Array.from({ length: 151670 }, (_, id) =>
    id < letters.length ? (letters[id] ?? '') : `Ġ${word(id)}`,
  );
  for (const [token, id] of Object.entries(ids)) tokens[id] = token;
  const rest = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return {
    ...tokenizer({ tokens: [], specials: new Set() }),
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    added_tokens: Object.entries(ids).map(([content, id]) => ({ id, content, special: content in named, ...rest })),
    model: {
      type: 'BPE',
      ignore_merges: true,
      merges: [],
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
}
