import type { Clip } from '../models/clip';
import type { NativeTexts } from '../native/addon';

/** The texts of a step's guesses as CLIP's ids. Most of them are texts of the step before, which are not tokenized again. */
export class StepTexts {
  #idsOf = new Map<string, number[]>();

  constructor(private readonly clip: Clip) {}

  /** The distinct texts, and which of them each guess has; a guess without a text has none. */
  batch(texts: readonly (string | undefined)[]): NativeTexts {
    const distinct = [...new Set(texts.filter((text) => text !== undefined))];
    const fresh = distinct.filter((text) => !this.#idsOf.has(text));
    const ofFresh = new Map(this.clip.tokenIds(fresh).map((ids, i) => [fresh[i] ?? '', ids]));
    const rows = distinct.map((text) => ofFresh.get(text) ?? this.#idsOf.get(text) ?? []);
    this.#idsOf = new Map(distinct.map((text, i) => [text, rows[i] ?? []]));
    const indexOf = new Map<string | undefined, number>(distinct.map((text, i) => [text, i]));
    return { ...this.clip.batch(rows), textOf: Int32Array.from(texts, (text) => indexOf.get(text) ?? -1) };
  }
}
