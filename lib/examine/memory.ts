import { Clip } from '../models/clip';
import { Dllm } from '../models/dllm';
import { createEngine, type EngineOptions } from '../native/create-engines';
import { planMemory, type MemoryPlan } from '../sampling/memory-plan';
import type { ModelFolder } from '../models/model-folder';
import { openNamed } from '../store/open';
import { resolveOptions, rowsOfForward } from '../sampling/resolved-options';
import { graphSizes, type ModelKind } from './files';

/** What inversions with a model's defaults take of the device's memory. */
export interface MemoryReport {
  /** `cpu`, or a GPU as `cuda:0`. */
  device: string;
  particles: number;
  length: number;
  guesses: number;
  /** Columns of the logits. */
  vocabulary: number;
  /** Bytes of the graphs' files: about what their weights take. */
  weights: Record<ModelKind, number>;
  /** What 1, 2, 4 … images take together, up to the default `maxBatch`. */
  plans: MemoryPlan[];
}

/**
 * Plans what the models take. Throws what loading them does.
 * @param folders - Of the models; default the embedded ones.
 */
export async function examineMemory(
  folders: Partial<Record<ModelKind, string>>,
  on: Omit<EngineOptions, 'threads'>,
): Promise<MemoryReport> {
  const open = (kind: ModelKind): Promise<ModelFolder> => openNamed(kind, folders[kind], on);
  const at = { dllm: await open('dllm'), clip: await open('clip') };
  const engine = createEngine({ ...on, threads: 1 });
  try {
    const clip = await Clip.load(engine, at.clip);
    const dllm = await Dllm.load(engine, at.dllm, clip);
    const options = resolveOptions({}, dllm);
    const { particles, length, guesses } = options;
    const most = Math.floor(rowsOfForward(undefined, particles, dllm) / particles);
    const plans: MemoryPlan[] = [];
    for (let images = 1; images <= most; images *= 2) plans.push(planMemory({ engine, dllm, clip }, options, images));
    const weights = { dllm: await bytesOf(at.dllm, 'dllm'), clip: await bytesOf(at.clip, 'clip') };
    return { device: engine.device, particles, length, guesses, vocabulary: dllm.vocab, weights, plans };
  } finally {
    await engine.dispose();
  }
}

async function bytesOf(folder: ModelFolder, kind: ModelKind): Promise<number> {
  const files = await graphSizes(folder, kind);
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
