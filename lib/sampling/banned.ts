import { FkinvError } from '../errors';

/** What the ban list needs of a dLLM. */
export interface BannedModel {
  /** The text of tokens among which there is no mask, up to the first stop token. */
  decode(tokens: number[]): string;
  maskId: number;
  stops: number[];
}

/** A letter, digit, combining mark or underscore. */
const wordCharacter = String.raw`[\p{L}\p{Nd}\p{M}_]`;
const beginsAsWord = new RegExp(`^${wordCharacter}`, 'u');
const endsAsWord = new RegExp(`${wordCharacter}$`, 'u');

/**
 * Words no text may contain: as whole words, in any case (Unicode's simple case folding) and canonically equivalent
 * spelling, however a text is split into tokens. White space in an entry stands for any run of it.
 */
export class BanList {
  readonly #pattern: RegExp | undefined;

  /** @throws FkinvError `INVALID_OPTION` for a word that is empty or only white space */
  constructor(
    words: string[],
    private readonly model: BannedModel,
  ) {
    if (words.length > 0) this.#pattern = new RegExp(patternOf(words.map(tidy)), 'iu');
  }

  /** Whether `text` contains a banned word. */
  matches(text: string): boolean {
    return this.#pattern?.test(text.normalize('NFC')) ?? false;
  }

  /**
   * Whether the text of a row of tokens contains a banned word before its first stop token. A [MASK] is a word boundary: each
   * run of tokens between masks is looked at by itself.
   */
  violates(tokens: ArrayLike<number>): boolean {
    return this.#pattern !== undefined && this.#runsOf(tokens).some((run) => this.matches(this.model.decode(run)));
  }

  /**
   * The position among `drawn`, the positions of this row that were drawn just now, whose draw completes a banned word. To find
   * it, all of `drawn` are masked and put back in ascending order: it is the one from which on the row violates. -1 where the row
   * does not violate; a row that does, and was clean with all of them masked, always has such a position.
   */
  completing(tokens: ArrayLike<number>, drawn: readonly number[]): number {
    if (!this.violates(tokens)) return -1;
    // They are taken away in descending order. The first that violates when put back may be another one, which a later token
    // mends: "cat" is banned, "catch" is not.
    const row = Array.from(tokens);
    const descending = [...drawn].sort((a, b) => b - a);
    const found = descending.find((position) => {
      row[position] = this.model.maskId;
      return !this.violates(row);
    });
    return found ?? -1;
  }

  #runsOf(tokens: ArrayLike<number>): number[][] {
    const { maskId, stops } = this.model;
    const runs: number[][] = [[]];
    for (const id of Array.from(tokens)) {
      if (stops.includes(id)) break;
      if (id === maskId) runs.push([]);
      else runs.at(-1)?.push(id);
    }
    return runs;
  }
}

/** A banned word in NFC, white space in it as one space each. */
function tidy(word: string): string {
  const tidied = word.normalize('NFC').trim().replace(/\s+/gu, ' ');
  if (tidied !== '') return tidied;
  throw new FkinvError(
    'INVALID_OPTION',
    `options of invert: banned: ${JSON.stringify(word)} is empty: give a word or a token id`,
  );
}

/**
 * The source of a regular expression that matches any of `words`. A boundary is asked for only at an edge that is a word
 * character itself.
 */
function patternOf(words: string[]): string {
  const alternatives: string[] = [];
  // Words of equal edges share their boundaries, which take long to compile.
  for (const before of ['', `(?<!${wordCharacter})`]) {
    for (const after of ['', `(?!${wordCharacter})`]) {
      const group = words.filter(
        (word) => beginsAsWord.test(word) === (before !== '') && endsAsWord.test(word) === (after !== ''),
      );
      if (group.length > 0) alternatives.push(`${before}(?:${group.map(sourceOf).join('|')})${after}`);
    }
  }
  return alternatives.join('|');
}

function sourceOf(word: string): string {
  return word.replace(/[\\^$.*+?()[\]{}|/]/gu, String.raw`\$&`).replaceAll(' ', String.raw`\s+`);
}
