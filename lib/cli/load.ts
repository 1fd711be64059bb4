import type { Provenance } from '../bulk/record';
import { hashOfModel } from '../examine/files';
import { Inverter } from '../inverter';
import { sha256 } from '../models/model-folder';
import { openNamed } from '../store/open';
import type { LoadFlags } from './invert-flags';
import { fetchMissing } from './pull';

/** Loads the models, and hashes them in the meantime. */
export async function loadWithHashes(
  load: LoadFlags,
  onWarning: (warning: string) => void,
  quiet: boolean,
): Promise<{ inverter: Inverter; models: Provenance['models'] }> {
  await fetchMissing(load, quiet);
  const hashOf = async (kind: 'dllm' | 'clip'): Promise<string> =>
    hashOfModel(await openNamed(kind, load[kind], { device: load.device ?? 'auto' }), kind);
  const loading = Inverter.load({ ...load, onWarning });
  const [inverter, dllm, clip] = await Promise.all([loading, hashOf('dllm'), hashOf('clip')]);
  const { hintWords } = load;
  return { inverter, models: { dllm, clip, ...(hintWords !== undefined && { hintWords: await sha256(hintWords) }) } };
}
