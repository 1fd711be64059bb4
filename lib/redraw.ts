import type { BanList } from './banned';
import { FkinvError } from './errors';
import type { NativeParticles, NativeRedraw } from './native';

/** Rows of tokens that were drawn just now, and how to draw of them again. */
export interface DrawnRows {
  step: number;
  /** Of the proposal, or else of the guesses. */
  ofProposal: boolean;
  /** [rows, length]; what is drawn again is written into it. */
  tokens: Int32Array;
  length: number;
  /** The rows that count, each with the positions that were drawn. */
  drawn: Map<number, number[]>;
}

/**
 * Draws again what completes a banned word, with that token at probability 0, until no row has one. Rows where nothing is
 * left to draw are returned, with the position.
 */
export async function redrawBanned(
  particles: NativeParticles,
  bans: BanList,
  rows: DrawnRows,
): Promise<{ row: number; position: number }[]> {
  const { step, ofProposal, tokens, length, drawn } = rows;
  const rowOf = (row: number): Int32Array => tokens.subarray(row * length, (row + 1) * length);
  const excluded = new Map<number, number[]>(); // by place in `tokens`
  const stuck: { row: number; position: number }[] = [];
  let violating = [...drawn.keys()].filter((row) => bans.violates(rowOf(row)));
  while (violating.length > 0) {
    const places = violating.map((row) => {
      const position = bans.completing(rowOf(row), drawn.get(row) ?? []);
      if (position === -1) throw new FkinvError('INTERNAL', 'a banned word is complete without a draw');
      const place = row * length + position;
      excluded.set(place, [...(excluded.get(place) ?? []), tokens[place] ?? -1]);
      return { row, position, place };
    });
    const what = redrawOf(places, excluded);
    const redrawn = await particles.redraw(step, ofProposal, what);
    violating = [];
    for (const [i, { row, position, place }] of places.entries()) {
      const token = redrawn[i] ?? -1;
      if (token === -1) {
        stuck.push({ row, position });
        continue;
      }
      tokens[place] = token;
      if (bans.violates(rowOf(row))) violating.push(row);
    }
  }
  return stuck;
}

function redrawOf(
  places: { row: number; position: number; place: number }[],
  excluded: Map<number, number[]>,
): NativeRedraw {
  const lists = places.map(({ place }) => excluded.get(place) ?? []);
  const offsets = [0];
  for (const list of lists) offsets.push((offsets.at(-1) ?? 0) + list.length);
  return {
    rows: Int32Array.from(places, ({ row }) => row),
    positions: Int32Array.from(places, ({ position }) => position),
    excluded: Int32Array.from(lists.flat()),
    offsets: Int32Array.from(offsets),
  };
}
