// The demo models, loaded through lib's own classes, for tests of the parts.
import path from 'node:path';
import { PictureMemory } from '../../lib/images/budget';
import type { PreparedImage } from '../../lib/images/pixels';
import { preparePicture } from '../../lib/images/prepare';
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

/** The picture of a file as a tower of this preprocessor takes it. */
export async function preparedFor({ preprocessor }: Pick<Clip, 'preprocessor'>, file: string): Promise<PreparedImage> {
  const { images } = await preparePicture(file, [preprocessor], new PictureMemory(2 ** 28));
  return images[0] ?? Promise.reject(new Error(`${file} gave no picture`));
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
