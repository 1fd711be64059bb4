/**
 * Places on the device for the embeddings of a step's texts. A text of the step before stays where it is and is not
 * encoded again: near the end guesses repeat.
 */
export class TextPlaces {
  #placeOf = new Map<string, number>();

  /** The texts of a step, equal ones once; gives those that the step before did not have, and their places. */
  take(texts: readonly string[]): { fresh: string[]; places: Int32Array } {
    const before = this.#placeOf;
    const distinct = [...new Set(texts)];
    const fresh = distinct.filter((text) => !before.has(text));
    this.#placeOf = new Map();
    for (const text of distinct) {
      const place = before.get(text);
      if (place !== undefined) this.#placeOf.set(text, place);
    }
    const taken = new Set(this.#placeOf.values());
    let place = -1;
    const places = Int32Array.from(fresh, (text) => {
      do place++;
      while (taken.has(place));
      this.#placeOf.set(text, place);
      return place;
    });
    return { fresh, places };
  }

  /** Where the embedding of a text of the step is; any place of the step where there is no text. */
  of(text: string | undefined): number {
    const [any = 0] = this.#placeOf.values();
    return (text === undefined ? undefined : this.#placeOf.get(text)) ?? any;
  }

  /** Forgets all: some could not be encoded. */
  clear(): void {
    this.#placeOf.clear();
  }
}
