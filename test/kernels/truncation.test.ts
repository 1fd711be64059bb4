// What top-k and top-p leave to draw from: against an oracle that sorts.
import test from 'ava';
import fc from 'fast-check';
import { draw } from 'fkinv-native/kernels';
import { Distribution, drawMany, tile, unevenTiles, unevenTokens } from '../helpers/kernels/distribution';
import { at, belowOne, generator, hills, normals, stratified } from '../helpers/kernels/golden';
import { truncation, type Proposal } from '../helpers/kernels/row';

/** Boundaries of the CDF are met to within this (algorithm.md, Randomness). */
const near = 2 ** -18;

/** Tokens that 4000 stratified u' draw, of one tile. */
function drawnFrom(row: number[], proposal: Partial<Proposal>): number[] {
  const d = new Distribution(Float32Array.from(row), { temperature: 1, ...proposal });
  return [...new Set(drawMany(d, new Float64Array(4000), stratified(4000)))].sort((a, b) => a - b);
}

const logs = (...probabilities: number[]): number[] => probabilities.map(Math.log);
const keeps: [what: string, row: number[], proposal: Partial<Proposal>, kept: number[]][] = [
  ['topK 1 keeps the argmax', [1, 3, 2], { topK: 1 }, [1]],
  ['topK keeps the most probable', [0, -1, 2, 0.5, -3, 1], { topK: 3 }, [2, 3, 5]],
  ['topK keeps all ties of the last one', [2, 1, 0, 1, 1, 0], { topK: 2 }, [0, 1, 3, 4]],
  ['topK of equal logits keeps all', [-7, -7, -7, -7], { topK: 1 }, [0, 1, 2, 3]],
  ['−0 is tied with 0', [-1, -0, 0, -2, -0], { topK: 1 }, [1, 2, 4]],
  ['topP counts both zeros', [1, 0, -0], { topK: 2, topP: 0.6 }, [0, 1, 2]],
  ['topK over the tokens that are left keeps those', [-Infinity, 1, -Infinity, 2], { topK: 3 }, [1, 3]],
  ['topK over V keeps all', [0, 1, 2], { topK: 2 ** 24 }, [0, 1, 2]],
  ['topP keeps the fewest that reach it', logs(0.1, 0.4, 0.2, 0.3), { topP: 0.65 }, [1, 3]],
  ['topP that one reaches keeps one', logs(0.1, 0.4, 0.2, 0.3), { topP: 0.39 }, [1]],
  ['the least topP keeps the argmax', logs(0.1, 0.4, 0.2, 0.3), { topP: 5e-324 }, [1]],
  ['topP past the last but one keeps all', logs(0.1, 0.4, 0.2, 0.3), { topP: 0.91 }, [0, 1, 2, 3]],
  ['topP keeps all ties of the last one', logs(0.5, 0.125, 0.25, 0.125), { topP: 0.8 }, [0, 1, 2, 3]],
  ['topP of equal logits keeps all', [3, 3, 3, 3, -90], { topP: 0.1 }, [0, 1, 2, 3]],
  ['topP below 1 drops what has no mass', [0, -200, 1, -200], { topP: belowOne }, [0, 2]],
  ['topP is of the tempered mass: lower', logs(0.1, 0.4, 0.2, 0.3), { topP: 0.85, temperature: 0.5 }, [1, 3, 2]],
  ['topP is of the tempered mass: higher', logs(0.001, 0.9, 0.099), { topP: 0.85, temperature: 4 }, [1, 2]],
  ['topP is of what topK keeps', logs(0.1, 0.4, 0.2, 0.3), { topK: 2, topP: 0.55 }, [1]],
  ['topP within what topK keeps', logs(0.1, 0.4, 0.2, 0.3), { topK: 3, topP: 0.7 }, [1, 3]],
  ['topK within what topP would keep', logs(0.1, 0.4, 0.2, 0.3), { topK: 2, topP: 0.99 }, [1, 3]],
  ['topP counts the ties of topK', logs(0.4, 0.2, 0.2, 0.2), { topK: 2, topP: 0.9 }, [0, 1, 2, 3]],
  ['logits of one 11-bit bin are told apart', [1, 1 + 2 ** -23, 1 + 2 ** -22], { topK: 2 }, [1, 2]],
  ['negative logits of one bin are told apart', [-1, -1 - 2 ** -23, -1 - 2 ** -22], { topK: 2 }, [0, 1]],
  ['infinitesimal logits are told apart', [1e-45, 0, -1e-45], { topK: 2 }, [0, 1]],
];
for (const [what, row, proposal, kept] of keeps) {
  test(what, (t) => {
    t.deepEqual(
      drawnFrom(row, proposal),
      [...kept].sort((a, b) => a - b),
    );
  });
}

const rows: [name: string, row: Float32Array, tileDraws: number, tokenDraws: number, inTiles: number[]][] = [
  ['5 tokens', Float32Array.of(0.3, -2, 1.7, 0, -0.4), 1000, 20000, [0]],
  ['2048 tokens', hills(2048, 2), 3000, 4000, [0, 1]],
  ['2500 tokens, many tied', hills(2500, 4).map((z) => Math.round(2 * z) / 2), 3000, 4000, [0, 1]],
  ['50257 tokens', hills(50257, 5), 300, 200, []],
];
const proposals: Proposal[] = [
  { temperature: 1, topK: 3 },
  { temperature: 0.7, topK: 40 },
  { temperature: 1, topP: 0.9 },
  { temperature: 2, topP: 0.5 },
  { temperature: 0.5, topK: 200, topP: 0.95 },
];
for (const [name, row, tileDraws, tokenDraws, inTiles] of rows) {
  for (const proposal of proposals) {
    test(`stratified u give tiles and tokens their shares to within 2: ${name}, ${JSON.stringify(proposal)}`, (t) => {
      const d = new Distribution(row, proposal);
      t.deepEqual(unevenTiles(d, tileDraws), []);
      const best = d.masses.indexOf(Math.max(...d.masses));
      for (const j of [...inTiles.filter((i) => at(d.masses, i) > 0), best]) {
        t.deepEqual(unevenTokens(d, j, tokenDraws), [], `tile ${j}`);
      }
    });
  }
}

/** Logits with ties, holes of −inf, and a proposal. */
const cases = fc.record({
  vocab: fc.oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 3000 }),
    fc.constantFrom(1024, 1025, 2049),
  ),
  seed: fc.integer(),
  scale: fc.constantFrom(0.5, 2, 8, 100),
  /** Logits are rounded to multiples of this; 0 leaves them. */
  grain: fc.constantFrom(0, 0.01, 0.5, 2),
  offset: fc.constantFrom(0, -50, 8e4),
  holes: fc.constantFrom(0, 0.1, 0.9, 0.999),
  temperature: fc.oneof(fc.constantFrom(1, 0.06, 10), fc.double({ min: 0.06, max: 10, noNaN: true })),
  topK: fc.option(fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 4000 })), { nil: undefined }),
  topP: fc.option(fc.oneof(fc.double({ min: 1e-3, max: 1, noNaN: true }), fc.constantFrom(0.5, 0.9, 0.999)), {
    nil: undefined,
  }),
});
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

function rowOf({ vocab, seed, scale, grain, offset, holes }: Case): Float32Array {
  const uniform = generator(seed + 1);
  const kept = Math.floor(uniform() * vocab);
  return normals(vocab, seed).map((normal, c) => {
    const z = normal * scale;
    return c !== kept && uniform() < holes ? -Infinity : offset + (grain > 0 ? Math.round(z / grain) * grain : z);
  });
}

/** Kept tokens worth a look: beside one that is barely dropped, the least of the kept, and some of the others. */
function chosenOf({ row, lowest }: Distribution): number[] {
  const tokens = [...row.keys()];
  const isKept = (token: number | undefined): boolean => token !== undefined && at(row, token) >= lowest;
  const highestDropped = row.reduce((max, z) => (z < lowest ? Math.max(max, z) : max), -Infinity);
  const dropped = tokens.filter((token) => row[token] === highestDropped && highestDropped > -Infinity);
  const beside = dropped.slice(0, 12).flatMap((token) => {
    return [tokens.slice(0, token).findLast(isKept), tokens.slice(token + 1).find(isKept)];
  });
  const least = tokens.filter((token) => row[token] === lowest);
  const others = tokens.filter((token, i) => isKept(token) && i % Math.ceil(row.length / 20) === 0);
  return [...new Set([...beside, ...least.slice(0, 6), ...least.slice(-6), ...others])].filter((c) => c !== undefined);
}

test('the kept set is that of the oracle: each token has its interval of u and u′, to within 2^-18', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(cases, (c) => {
        const row = rowOf(c);
        fc.pre(truncation(row, c).clearance > 1e-5); // else rounding decides
        const { temperature, topK, topP } = c;
        const d = new Distribution(row, { temperature, topK, topP });
        const expected: number[] = [];
        const [u, uInside]: [number[], number[]] = [[], []];
        for (const token of chosenOf(d)) {
          const [from, to] = d.intervalInside(token);
          const j = Math.floor(token / tile);
          if (!(to - from > 2 * near) || !(d.probability(j) > 2 * near)) continue;
          expected.push(token, token);
          u.push(d.middle(j), d.middle(j));
          uInside.push(from + near, to - near);
        }
        drawMany(d, u, uInside).forEach((token, i) => {
          if (token === expected[i]) return;
          throw new Error(`${token}, not ${at(expected, i)}, for u ${at(u, i)}, u' ${at(uInside, i)}`);
        });
      }),
      { numRuns: 300 },
    ),
  );
});

test('no token that is dropped is drawn, at either end of u and between', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(cases, (c) => {
        const row = rowOf(c);
        fc.pre(truncation(row, c).clearance > 1e-5);
        const { temperature, topK, topP } = c;
        const d = new Distribution(row, { temperature, topK, topP });
        const uniform = generator(c.seed + 2);
        const ends = [0, 2 ** -53, uniform(), uniform(), 1 - 2 ** -20, belowOne];
        const tokens = drawMany(
          d,
          ends.flatMap((x) => ends.map(() => x)),
          ends.flatMap(() => ends),
        );
        for (const token of tokens) {
          const z = row[token] ?? NaN;
          if (!(z >= d.lowest && z > -Infinity)) throw new Error(`token ${token}, logit ${z}, lowest ${d.lowest}`);
        }
      }),
      { numRuns: 200 },
    ),
  );
});

for (const temperature of [1, 0.5]) {
  test(`topK of V or more and topP 1 change nothing, bit for bit: temperature ${temperature}`, (t) => {
    const vocab = 3000;
    for (let seed = 0; seed < 5; seed++) {
      const row = hills(vocab, seed);
      const drawAt = (u: number, proposal: object): number =>
        draw(row, { vocab, temperature, u: Float64Array.of(u), uInside: Float64Array.of(0.5), ...proposal })[0] ?? NaN;
      // The edge between the first two tiles, to the last bit.
      let [below, above] = [0, 1];
      for (let i = 0; i < 60; i++) {
        const middle = (below + above) / 2;
        if (drawAt(middle, {}) < tile) below = middle;
        else above = middle;
      }
      for (const proposal of [{ topP: 1 }, { topK: vocab }, { topK: vocab + 1, topP: 1 }]) {
        for (const u of [below, above, ...stratified(50)]) {
          t.is(drawAt(u, proposal), drawAt(u, {}), `u ${u}, ${JSON.stringify(proposal)}`);
        }
      }
    }
  });
}

test('at temperature 0 the token is the argmax, whatever topK and topP', (t) => {
  const row = hills(3000, 22);
  const [argmax] = [...row.keys()].sort((a, b) => at(row, b) - at(row, a));
  for (const proposal of [{ topK: 5 }, { topP: 0.3 }, { topK: 9, topP: 0.9 }]) {
    const options = { vocab: 3000, temperature: 0, u: Float64Array.of(0.99), uInside: Float64Array.of(0.99) };
    t.is(draw(row, { ...options, ...proposal })[0], argmax);
  }
});
