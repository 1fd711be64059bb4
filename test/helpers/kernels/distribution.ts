// What a row of logits is drawn from, on two levels and in float64, and how evenly stratified uniforms draw it.
import { draw } from 'fkinv-native/kernels';
import { at, stratified, sum } from './golden';
import { truncation, type Proposal } from './row';

export const tile = 1024;
/** Copies of a row, one a draw: as many as fit at a time. */
const copies = new Float32Array(2 ** 22);

/** The first index whose running sum exceeds u, else the last that adds to it. */
export function lookup(cumulative: Float64Array, u: number): number {
  const index = cumulative.findIndex((c) => c > u);
  return index >= 0 ? index : cumulative.findIndex((c) => c === cumulative.at(-1));
}

/** Running sums of weights, divided by their total. */
function running(weights: Float64Array): Float64Array {
  const total = sum(weights);
  let before = 0;
  return weights.map((w) => (before += w) / total);
}

/** Interval i of running sums. */
function intervalOf(cumulative: Float64Array, i: number): [from: number, to: number] {
  return [i > 0 ? at(cumulative, i - 1) : 0, at(cumulative, i)];
}

/** softmax(row/τ) over the tokens that top-k and top-p keep. */
export class Distribution {
  readonly vocab: number;
  readonly masses: Float64Array;
  /** Running sums over the tiles. */
  readonly tiles: Float64Array;
  /** Lowest logit that is kept. */
  readonly lowest: number;

  constructor(
    readonly row: Float32Array,
    readonly proposal: Proposal,
  ) {
    this.vocab = row.length;
    this.lowest = truncation(row, proposal).lowest;
    const max = row.reduce((m, z) => Math.max(m, z));
    const weights = this.#weights(row, max);
    const count = Math.ceil(this.vocab / tile);
    this.masses = Float64Array.from({ length: count }, (_, j) => sum(weights.subarray(j * tile, (j + 1) * tile)));
    this.tiles = running(this.masses);
  }

  /** Running sums inside tile `j`. */
  inside(j: number): Float64Array {
    // Relative to the tile's own maximum: a tile far below the row's still has a distribution inside.
    const columns = this.row.subarray(j * tile, (j + 1) * tile);
    return running(
      this.#weights(
        columns,
        columns.reduce((m, z) => Math.max(m, z)),
      ),
    );
  }

  probability(j: number): number {
    return at(this.masses, j) / sum(this.masses);
  }

  /** A uniform in the middle of the interval of tile `j`. */
  middle(j: number): number {
    const [from, to] = intervalOf(this.tiles, j);
    return (from + to) / 2;
  }

  /** The uniforms u' of a token, in its tile. */
  intervalInside(token: number): [from: number, to: number] {
    return intervalOf(this.inside(Math.floor(token / tile)), token % tile);
  }

  #weights(logits: Float32Array, max: number): Float64Array {
    const keeps = (z: number): boolean => z >= this.lowest && z > -Infinity;
    return Float64Array.from(logits, (z) => (keeps(z) ? Math.exp((z - max) / this.proposal.temperature) : 0));
  }
}

/** One token a pair of uniforms, all from the same row. */
export function drawMany(
  { row, vocab, proposal }: Distribution,
  u: Float64Array | number[],
  uInside: Float64Array | number[],
): Int32Array {
  const given = Object.fromEntries(Object.entries(proposal).filter(([, value]) => value !== undefined)) as object;
  const tokens = new Int32Array(u.length);
  const batch = Math.min(u.length, Math.floor(copies.length / vocab));
  for (let i = 0; i < batch; i++) copies.set(row, i * vocab);
  for (let from = 0; from < u.length; from += batch) {
    const to = Math.min(from + batch, u.length);
    const pair = { u: Float64Array.from(u.slice(from, to)), uInside: Float64Array.from(uInside.slice(from, to)) };
    tokens.set(draw(copies.subarray(0, (to - from) * vocab), { vocab, ...given, ...pair }), from);
  }
  return tokens;
}

export function countsOf(values: Iterable<number>, length: number): number[] {
  const counts = new Array<number>(length).fill(0);
  for (const value of values) counts[value] = at(counts, value) + 1;
  return counts;
}

/** Where a count is not within 2 of n times its probability. */
export function uneven(counts: number[], n: number, probability: (i: number) => number): string[] {
  return counts.flatMap((count, i) => {
    const expected = n * probability(i);
    return Math.abs(count - expected) <= 2 ? [] : [`${count} of ${i}, not ${expected}`];
  });
}

/** Tile counts over `n` stratified u. */
export function unevenTiles(d: Distribution, n: number): string[] {
  const tokens = drawMany(d, stratified(n), new Float64Array(n).fill(0.5));
  const counts = countsOf(
    tokens.map((token) => Math.floor(token / tile)),
    d.masses.length,
  );
  return uneven(counts, n, (j) => d.probability(j));
}

/** Token counts in tile `j` over `n` stratified u'. */
export function unevenTokens(d: Distribution, j: number, n: number): string[] {
  const tokens = drawMany(d, new Float64Array(n).fill(d.middle(j)), stratified(n));
  const inside = d.inside(j);
  if (tokens.some((token) => Math.floor(token / tile) !== j)) return [`not all tokens are of tile ${j}`];
  const counts = countsOf(
    tokens.map((token) => token % tile),
    inside.length,
  );
  return uneven(counts, n, (c) => at(inside, c) - (c > 0 ? at(inside, c - 1) : 0));
}
