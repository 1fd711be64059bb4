import type { BanList } from './banned';
import { FkinvError } from '../errors';
import type { NativeParticles, NativeRedraw } from '../native/addon';

/** Rows of tokens that were drawn just now, and how to draw of them again. */
export interface DrawnRows {
  step: number;
  /** True for rows of the proposal, false for rows of the guesses. */
  ofProposal: boolean;
  /** [rows, length]; what is drawn again is written into it. */
  tokens: Int32Array;
  length: number;
  /** The rows that count, each with the positions that were drawn. */
  drawn: Map<number, number[]>;
}

/** Redraws after which a row is given up: the bans leave it too little. */
const mostRedraws = 10_000;

/**
 * Draws again what completes a banned word, with that token at probability 0, until no row has one. Where nothing is left at a
 * position, the token drawn before it is drawn again in its turn. Rows for which there is no way are returned, each with the
 * position at which its search ended.
 */
export async function redrawBanned(
  particles: NativeParticles,
  bans: BanList,
  rows: DrawnRows,
): Promise<{ row: number; position: number }[]> {
  const { step, ofProposal, tokens, length, drawn } = rows;
  const stuck: { row: number; position: number }[] = [];
  let searches = [...drawn].map(([row, positions]) => {
    return new Search(row, positions, tokens.subarray(row * length, (row + 1) * length), bans);
  });
  for (;;) {
    searches = searches.filter((search) => search.isViolating());
    if (searches.length === 0) return stuck;
    const redrawn = await particles.redraw(step, ofProposal, redrawOf(searches.map((search) => search.next())));
    searches = searches.filter((search, i) => {
      const hasWay = search.take(redrawn[i] ?? -1);
      if (!hasWay) stuck.push({ row: search.row, position: search.position });
      return hasWay;
    });
  }
}

/** Where to draw again, and the tokens with probability 0 there. */
interface Place {
  row: number;
  position: number;
  excluded: number[];
}

/** The way of one row to tokens without a banned word: depth first over its drawn positions, in ascending order. */
class Search {
  /** The position that is drawn again now; −1 before the first. */
  position = -1;
  readonly #excluded = new Map<number, number[]>();
  #redraws = 0;
  #isBack = false;

  constructor(
    readonly row: number,
    private readonly drawn: readonly number[],
    private readonly tokens: Int32Array,
    private readonly bans: BanList,
  ) {}

  isViolating(): boolean {
    return this.#isBack || this.bans.violates(this.tokens);
  }

  next(): Place {
    if (!this.#isBack) {
      this.position = this.bans.completing(this.tokens, this.drawn);
      if (this.position === -1) throw new FkinvError('INTERNAL', 'a banned word is complete without a draw');
    }
    const excluded = [...(this.#excluded.get(this.position) ?? []), this.tokens[this.position] ?? -1];
    this.#excluded.set(this.position, excluded);
    this.#redraws++;
    return { row: this.row, position: this.position, excluded };
  }

  /**
   * Puts the redrawn token into the row, or, where there was none left (−1), goes back a position. Gives whether the search can
   * go on.
   */
  take(token: number): boolean {
    this.#isBack = token === -1;
    if (token !== -1) {
      this.tokens[this.position] = token;
      return this.#redraws < mostRedraws;
    }
    const before = this.drawn.findLast((position) => position < this.position);
    if (before === undefined || this.#redraws >= mostRedraws) return false;
    for (const position of this.drawn) if (position > before) this.#excluded.delete(position);
    this.position = before;
    return true;
  }
}

function redrawOf(places: Place[]): NativeRedraw {
  const offsets = [0];
  for (const { excluded } of places) offsets.push((offsets.at(-1) ?? 0) + excluded.length);
  return {
    rows: Int32Array.from(places, ({ row }) => row),
    positions: Int32Array.from(places, ({ position }) => position),
    excluded: Int32Array.from(places.flatMap(({ excluded }) => excluded)),
    offsets: Int32Array.from(offsets),
  };
}
