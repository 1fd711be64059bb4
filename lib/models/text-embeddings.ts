import type { Clip } from './clip';
import { FkinvError } from '../errors';

/** Texts that wait for the engine together, so that it need not wait for the next one. */
const atOnce = 16;

/**
 * CLIP's embeddings [texts, E] of `texts`, each of unit length. `onDone` is told how many are done, and may throw to stop. Throws
 * `MODEL_RUN`, `MODEL_INVALID` or `INVALID_EMBEDDING`.
 */
export async function embedTexts(
  clip: Clip,
  texts: readonly string[],
  onDone: (count: number) => void = () => undefined,
): Promise<Float32Array> {
  const embeddings = new Float32Array(texts.length * clip.embedSize);
  for (let first = 0; first < texts.length; first += atOnce) {
    const some = texts.slice(first, first + atOnce);
    const rows = await Promise.all(some.map(async (text) => (await clip.encodeText(text)).read()));
    for (const [i, row] of rows.entries()) {
      const direction = unit(row) ?? refuse(clip, some[i] ?? '');
      embeddings.set(direction, (first + i) * clip.embedSize);
    }
    onDone(first + some.length);
  }
  return embeddings;
}

/** `embedding` at unit length; undefined where it is zero or not finite. */
export function unit(embedding: Float32Array): Float32Array | undefined {
  const norm = Math.sqrt(embedding.reduce((sum, x) => sum + x * x, 0));
  return norm > 0 && Number.isFinite(norm) ? embedding.map((x) => x / norm) : undefined;
}

function refuse(clip: Clip, text: string): never {
  throw new FkinvError(
    'INVALID_EMBEDDING',
    `${clip.text.file} gave an embedding that is zero or not finite for ${JSON.stringify(text)}: check the export`,
  );
}
