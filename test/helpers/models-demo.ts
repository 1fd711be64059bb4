// The demo models, loaded through lib's own classes, for tests of the parts.
import path from 'node:path';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { ModelFolder } from '../../lib/models/model-folder';
import { cpuEngine } from './cpu-engine';
import type { Models } from '../../lib/models/replicas';

export const root = path.join(__dirname, '..', '..');

export async function loadDemo(): Promise<Models> {
  const engine = cpuEngine(2);
  const clip = await Clip.load(engine, new ModelFolder(path.join(root, 'models', 'clip')));
  const dllm = await Dllm.load(engine, new ModelFolder(path.join(root, 'models', 'dllm')), clip);
  return { engine, clip, dllm };
}

/** Logits [N, V] of one state, as the graph gives them. */
export async function logitsOf({ clip, dllm }: Models, ids: number[], embed: Float32Array): Promise<Float32Array> {
  const inputs = [
    { name: 'input_ids', data: BigInt64Array.from(ids, BigInt), rowShape: [ids.length] },
    { name: dllm.condition, data: embed, rowShape: [clip.embedSize] },
  ];
  const tensor = await dllm.model.session.run(1, inputs, 'logits', [ids.length, dllm.vocab]);
  return tensor.read();
}
