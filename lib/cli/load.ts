import type { Provenance } from '../bulk/record';
import { hashOfModel } from '../examine/files';
import { Inverter } from '../inverter';
import { modelFolder, sha256 } from '../models/model-folder';
import type { LoadFlags } from './invert-flags';

/** Loads the models, and hashes them in the meantime. */
export async function loadWithHashes(
  load: LoadFlags,
  onWarning: (warning: string) => void,
): Promise<{ inverter: Inverter; models: Provenance['models'] }> {
  const hashOf = (kind: 'dllm' | 'clip'): Promise<string> => hashOfModel(modelFolder(kind, load[kind]), kind);
  const loading = Inverter.load({ ...load, onWarning });
  const [inverter, dllm, clip] = await Promise.all([loading, hashOf('dllm'), hashOf('clip')]);
  const { hintWords } = load;
  return { inverter, models: { dllm, clip, ...(hintWords !== undefined && { hintWords: await sha256(hintWords) }) } };
}
