import path from 'node:path';

// Public repositories of the Hugging Face Hub that are known to this package: what their own files leave open, as a fkinv.json
// would say it, and what people want to know before they fetch one. A folder's own fkinv.json comes before the manifest here.

/** A repository that is known. */
export interface KnownModel {
  kind: 'clip' | 'dllm';
  /** The licence that its page states. */
  licence: string;
  /** Bytes of its graphs, by variant, as far as they are known. */
  bytes: Record<string, number>;
  /** What stands in for a fkinv.json, in its keys; without one its files say all. */
  manifest?: object;
}

const MB = 1e6;

/** Qwen3-0.6B, made a masked diffusion model (dLLM's a2d); converted by naklitechie. */
const qwen3Diffusion = {
  maskId: 151669,
  stopIds: [151645],
  // <think> and </think> are not among the tokenizer's special tokens: a prompt could hold them.
  suppressedIds: [151667, 151668],
  prefix: '<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n',
  instruction: { text: 'Describe a picture in one sentence.', hints: ' It may show: {hints}.' },
  maxPositions: 40960,
  variants: {
    // A fusion of ONNX Runtime fails on the casts of the float16 graph.
    fp16: { graph: 'onnx/model_fp16_fused.onnx', optimization: 'disabled', weightType: 'float16' },
    q4f16: { graph: 'onnx/model_q4f16_rtn_sym.onnx', optimization: 'all', weightType: '4-bit, float16' },
  },
  // Its own sampler takes the likeliest tokens first, a block of 32 at a time, at temperature 0, which would make all particles
  // equal. As it does not see the picture, CLIP alone steers: by eight particles, between prompts of 8 to 32 tokens.
  defaults: {
    order: 'confidence',
    temperature: 0.7,
    particles: 8,
    length: 32,
    minLength: 8,
    steps: 32,
    blockLength: 32,
  },
  licence: 'Apache-2.0',
};

/** All that are known, by their names on the Hub. */
export const knownModels: Readonly<Record<string, KnownModel>> = {
  'naklitechie/Qwen3-0.6B-diffusion-mdlm-ONNX': {
    kind: 'dllm',
    licence: 'Apache-2.0',
    bytes: { fp16: 1500 * MB, q4f16: 700 * MB },
    manifest: qwen3Diffusion,
  },
  'naklitechie/Qwen3-0.6B-diffusion-bd3lm-ONNX': {
    kind: 'dllm',
    licence: 'Apache-2.0',
    bytes: { fp16: 1500 * MB, q4f16: 700 * MB },
    // Its attention mask is a matrix, by blocks of 32 that are counted from the row's first position, and so are the sampler's.
    manifest: { ...qwen3Diffusion, attention: 'block', blockGrid: 'row' },
  },
  'Xenova/clip-vit-base-patch32': {
    kind: 'clip',
    licence: 'not stated (MIT for the code of CLIP)',
    bytes: { fp32: 606 * MB, fp16: 303 * MB, q8: 153 * MB },
  },
  'Xenova/clip-vit-base-patch16': { kind: 'clip', licence: 'not stated (MIT for the code of CLIP)', bytes: {} },
  'Xenova/clip-vit-large-patch14': { kind: 'clip', licence: 'not stated (MIT for the code of CLIP)', bytes: {} },
  'Xenova/clip-vit-large-patch14-336': { kind: 'clip', licence: 'not stated (MIT for the code of CLIP)', bytes: {} },
  'Xenova/siglip-base-patch16-224': { kind: 'clip', licence: 'Apache-2.0', bytes: {} },
  'immich-app/ViT-H-14__laion2b-s32b-b79k': { kind: 'clip', licence: 'MIT', bytes: {} },
};

/**
 * The repository that a folder holds files of: as the Hub's cache names the folders around it, or, where a folder was fetched
 * by hand, by its own name if a known repository has that. Undefined where neither tells.
 */
export function repositoryOf(folder: string): string | undefined {
  const parts = path.resolve(folder).split(path.sep);
  const snapshots = parts.lastIndexOf('snapshots');
  const cached = snapshots === parts.length - 2 ? /^models--([^-].*?)--(.+)$/.exec(parts[snapshots - 1] ?? '') : null;
  if (cached !== null) return `${cached[1] ?? ''}/${cached[2] ?? ''}`;
  return Object.keys(knownModels).find((name) => name.split('/')[1] === parts.at(-1));
}
