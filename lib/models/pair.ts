import { createReadStream } from 'node:fs';
import { z } from 'zod';
import type { Clip } from './clip';
import { FkinvError } from '../errors';
import { manifestName, type ClipProbe, type DllmManifest } from './manifest';
import { unreadable, type ModelFolder } from './model-folder';
import { embedTexts, unit } from './text-embeddings';

/** The cosine that two exports of one CLIP have at least; below it they are two models. */
const leastCosine = 0.99;
/** The same where the weights are rounded to 8 bits or fewer. */
const leastQuantized = 0.95;

/**
 * Holds `clip` to the one that the dLLM in `folder` was trained with, where its manifest says which: the CLIP's embedding of the manifest's
 * text must be the manifest's. Throws `PAIR_MISMATCH`, `MODEL_NOT_FOUND`, `MODEL_INVALID` or `MODEL_RUN`.
 */
export async function checkPair(clip: Clip, { condition }: DllmManifest, folder: ModelFolder): Promise<void> {
  if (typeof condition !== 'object' || !('clip' in condition) || condition.clip === undefined) return;
  const probe = condition.clip;
  const wanted = await embeddingOf(probe, folder);
  if (wanted.length !== clip.embedSize) {
    throw pairMismatch(folder, clip, probe, `has embeddings of ${clip.embedSize} numbers, not of ${wanted.length}`);
  }
  const found = await embedTexts(clip, [probe.text]);
  const cosine = found.reduce((sum, x, i) => sum + x * (wanted[i] ?? 0), 0);
  if (cosine >= leastCosine) return;
  const isQuantized = cosine >= leastQuantized && (await hasQuantizedWeights(clip.text.file));
  if (isQuantized) return;
  const alike = `embeds ${JSON.stringify(probe.text)} otherwise (cosine ${cosine.toFixed(3)}, at least ${leastCosine} is asked)`;
  throw pairMismatch(folder, clip, probe, alike);
}

/** What a CLIP is told that is not the one of the dLLM: why, which one it was made with, and which way there is. */
export function pairMismatch(
  folder: ModelFolder,
  clip: Clip,
  { name }: Pick<ClipProbe, 'name'>,
  why: string,
): FkinvError {
  return new FkinvError(
    'PAIR_MISMATCH',
    `${folder.path}: this dLLM sees images as ${name} embeds them, and the CLIP of ${clip.text.file} ${why}: give ${name} as ` +
      'the CLIP, or a dLLM without an image condition, which fits any CLIP',
  );
}

const numbers = z.array(z.number()).min(1, 'must not be empty');

/** The embedding of a probe, at unit length. */
async function embeddingOf({ embedding }: ClipProbe, folder: ModelFolder): Promise<Float32Array> {
  const values = typeof embedding === 'string' ? await folder.json(embedding, numbers) : embedding;
  const direction = unit(Float32Array.from(values));
  if (direction !== undefined) return direction;
  throw new FkinvError(
    'MODEL_INVALID',
    `${folder.file(manifestName)}: condition.clip.embedding is zero or not finite: it has no direction`,
  );
}

/** Operators and names of files of graphs whose weights have 8 bits or fewer. */
const quantized =
  /DequantizeLinear|DynamicQuantizeLinear|MatMulInteger|MatMulNBits|MatMulBnb4|QLinear|QGemm|QAttention/;
const quantizedName = /_(quantized|q8|int8|uint8|q4|q4f16|bnb4)\.onnx$/;

/** Whether a graph's weights are rounded so, by its name or by the operators that stand in the file as they are called. */
async function hasQuantizedWeights(file: string): Promise<boolean> {
  if (quantizedName.test(file)) return true;
  let last = '';
  try {
    for await (const chunk of createReadStream(file, { encoding: 'latin1', highWaterMark: 2 ** 20 })) {
      const text = last + (chunk as string);
      if (quantized.test(text)) return true;
      last = text.slice(-32); // a name may lie across two chunks
    }
  } catch (cause) {
    return unreadable(file)(cause);
  }
  return false;
}
