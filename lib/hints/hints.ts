import { FkinvError } from '../errors';
import type { Clip } from '../models/clip';
import { embedTexts, unit } from '../models/text-embeddings';
import { cacheFile, readCache, writeCache } from './cache';
import { EmbeddedWords, hintsFor } from './ranking';
import type { HintWord } from './words';

/**
 * What CLIP is asked of a word. Of six wordings tried on the demo's scenes of one object this one and two others had it among five hints the
 * most often (35 to 37 of 42), the word alone a little less (34).
 */
const textOf = ({ text }: HintWord): string => `a photo of ${text}`;

/** Milliseconds after which a user is told what takes so long. */
const patience = 2000;

/** Whose hints these are: as soon as nobody waits for them any more, no words are embedded. */
interface Waiting {
  readonly ended: unknown;
}

/** Words that CLIP finds in pictures. The list is embedded when the first picture needs it, and then kept on the disk. */
export class Hints {
  #embedded: Promise<EmbeddedWords> | undefined;
  readonly #waiting = new Set<Waiting>();

  constructor(
    private readonly words: readonly HintWord[],
    private readonly warn: (message: string) => void,
  ) {}

  /**
   * At most `most` words for a picture, or for several as one reference, best first; `references` are CLIP's embeddings [E] of them, and
   * `clip` is on `device`. Throws `MODEL_RUN`, `MODEL_INVALID` or `INVALID_EMBEDDING`.
   */
  async of(
    references: readonly Float32Array[],
    most: number,
    { clip, engine }: { clip: Clip; engine: { device: string } },
    waiting: Waiting,
  ): Promise<string[]> {
    this.#waiting.add(waiting);
    try {
      const embedded = (this.#embedded ??= this.#embed(clip, engine.device));
      const isMine = (): boolean => this.#embedded === embedded;
      const words = await embedded.catch((error: unknown) => {
        if (isMine()) this.#embedded = undefined; // the next picture tries again
        throw error;
      });
      return hintsFor(averageOf(references), words, most);
    } finally {
      this.#waiting.delete(waiting);
    }
  }

  async #embed(clip: Clip, device: string): Promise<EmbeddedWords> {
    const { words } = this;
    const texts = words.map(textOf);
    const file = await cacheFile(clip, device, texts);
    const known = await readCache(file, texts.length * clip.embedSize);
    if (known !== undefined) return new EmbeddedWords(words, known);
    const start = performance.now();
    let isTold = false;
    const embeddings = await embedTexts(clip, texts, (done) => {
      if ([...this.#waiting].every(({ ended }) => ended !== undefined)) {
        this.#embedded = undefined;
        throw new FkinvError('ABORTED', 'nobody waits for the hints');
      }
      const passed = performance.now() - start;
      if (isTold || passed < patience) return;
      isTold = true;
      const seconds = Math.ceil(((passed / done) * (texts.length - done)) / 1000);
      this.warn(`hints: CLIP reads ${texts.length} words for the first time, which takes about ${seconds} s more`);
    });
    await writeCache(file, embeddings);
    return new EmbeddedWords(words, embeddings);
  }
}

/** The mean of embeddings at unit length: what the images are averaged to as one reference. Throws `INVALID_EMBEDDING`. */
function averageOf(references: readonly Float32Array[]): Float32Array {
  const mean = new Float32Array(references[0]?.length ?? 0);
  for (const reference of references) {
    const direction = unit(reference);
    if (direction === undefined) {
      throw new FkinvError(
        'INVALID_EMBEDDING',
        "CLIP's embedding of the image is zero or not finite: check the export",
      );
    }
    for (const [i, x] of direction.entries()) mean[i] = (mean[i] ?? 0) + x;
  }
  return mean;
}
