import test from 'ava';
import fc from 'fast-check';
import { FkinvError, type ErrorCode } from 'fkinv-native';
import { draw, type DrawOptions } from 'fkinv-native/kernels';
import {
  countsOf,
  Distribution,
  drawMany,
  lookup,
  tile,
  uneven,
  unevenTiles,
  unevenTokens,
} from '../helpers/kernels/distribution';
import { at, belowOne, generator, hills, normals, stratified, sum } from '../helpers/kernels/golden';

const rows: [name: string, row: Float32Array, tileDraws: number, tokenDraws: number, inTiles: number[]][] = [
  ['5 tokens', Float32Array.of(0.3, -2, 1.7, 0, -0.4), 1000, 20000, [0]],
  ['1025 tokens, one in the last tile', hills(1025, 1).fill(7, 1024), 4000, 4000, [0, 1]],
  ['2048 tokens', hills(2048, 2), 4000, 6000, [0, 1]],
  ['126464 tokens', hills(126464, 3), 600, 300, [0, 60, 122, 123]],
];
for (const [name, row, tileDraws, tokenDraws, inTiles] of rows) {
  for (const temperature of [1, 0.5, 2]) {
    const d = new Distribution(row, { temperature });
    test(`stratified u give each tile its share to within 2: ${name}, temperature ${temperature}`, (t) => {
      t.deepEqual(unevenTiles(d, tileDraws), []);
    });
    test(`stratified u' give each token its share of its tile to within 2: ${name}, temperature ${temperature}`, (t) => {
      for (const j of inTiles) t.deepEqual(unevenTokens(d, j, tokenDraws), [], `tile ${j}`);
    });
  }
}

for (const rare of [0, 1, 2]) {
  const hot = normals(3 * tile, 10);
  const mass = sum(hot.map(Math.exp));
  const tail = normals(tile, 11).map((z) => z + Math.log(mass * 1e-9));
  hot.set(tail, rare * tile);
  const d = new Distribution(hot, { temperature: 1 });

  test(`1024 tokens of probability near 1e-9 in tile ${rare} of 3 get their share of 1e8 stratified u to within 2`, (t) => {
    // Of the 1e8 only those near the tile's interval are drawn: the others are far from it.
    const n = 1e8;
    const share = n * d.probability(rare);
    t.true(share > 50 && share < 500);
    const first = Math.floor(n * (d.middle(rare) - d.probability(rare))) - 300;
    const near = Array.from({ length: 1200 + Math.ceil(2 * share) }, (_, k) => (first + k + 0.5) / n);
    const u = near.filter((x) => x >= 0 && x < 1);
    const tokens = drawMany(d, u, new Float64Array(u.length).fill(0.5));
    const drawn = tokens.filter((token) => Math.floor(token / tile) === rare).length;
    t.true(Math.abs(drawn - share) <= 2, `${drawn}, not ${share}`);
  });

  test(`tokens of probability near 1e-9 in tile ${rare} of 3 have their share of the tile to within 2`, (t) => {
    t.deepEqual(unevenTokens(d, rare, 6000), []);
  });
}

test('a last tile of probability 1e-12 is drawn by the u of its interval, and by no other', (t) => {
  const row = new Float32Array(1024 + 4).fill(0);
  row.fill(Math.log((1024 * 1e-12) / 4), 1024);
  const d = new Distribution(row, { temperature: 1 });
  const last = d.probability(1);
  t.true(last > 0.99e-12 && last < 1.01e-12);
  const u = [belowOne, 1 - 0.01 * last, 1 - 0.9 * last, 1 - 1.1 * last, 1 - 10 * last];
  const tokens = drawMany(d, u, [0, 0.3, 0.9, 0.9, belowOne]);
  t.deepEqual([...tokens], [1024, 1025, 1027, 921, 1023]);
});

test('u at a boundary belongs to what comes after it, in the tile table and in the tile', (t) => {
  // Equal logits of 0 and powers of two: every sum is exact.
  const d = new Distribution(new Float32Array(4 * tile), { temperature: 1 });
  const quarters = [0, 0.25, 0.5, 0.75];
  const tokens = drawMany(
    d,
    quarters.flatMap((u) => [u, u, u, u]),
    quarters.flatMap(() => quarters),
  );
  t.deepEqual(
    [...tokens],
    quarters.flatMap((u) => quarters.map((inside) => tile * 4 * u + tile * inside)),
  );
  const below = (u: number): number => u - 2 ** -53;
  t.deepEqual(
    [...drawMany(d, [below(0.25), below(0.5), belowOne], [below(0.5), belowOne, belowOne])],
    [511, 2047, 4095],
  );
});

test('at temperature 0 the token is the argmax, lowest id on ties, whatever u', (t) => {
  const options = { temperature: 0, u: Float64Array.of(belowOne), uInside: Float64Array.of(belowOne) };
  const best = (row: Float32Array): number | undefined => draw(row, { ...options, vocab: row.length })[0];
  const row = hills(126464, 20);
  const max = row.reduce((m, z) => Math.max(m, z));
  t.is(best(row), row.indexOf(max));
  for (const ties of [[126463], [70000, 126463], [70000, 70001], [1024, 70000], [1023, 1024, 5000], [0, 1023]]) {
    const tied = row.slice();
    for (const id of ties) tied[id] = max + 1;
    t.is(best(tied), ties[0]);
    for (const id of ties) tied[id] = 3e38;
    t.is(best(tied), ties[0]);
  }
  t.is(best(new Float32Array(3000)), 0);
  t.is(best(new Float32Array(3000).fill(-Infinity).fill(-8e4, 2900)), 2900);
  t.deepEqual([...draw(Float32Array.of(1, 2, 3, 3, 9, 3), { ...twoRows, temperature: 0, vocab: 3 })], [2, 1]);
});

test('as the temperature rises the draw goes from the argmax to uniform', (t) => {
  const row = Float32Array.of(0, 1, 2, 3);
  const n = 1000;
  const counts = (temperature: number): number[] =>
    countsOf(drawMany(new Distribution(row, { temperature }), new Float64Array(n), stratified(n)), 4);
  t.deepEqual(counts(0.06), [0, 0, 0, n]);
  t.deepEqual(
    uneven(counts(10), n, (i) => Math.exp(i / 10) / sum([0, 1, 2, 3].map((z) => Math.exp(z / 10)))),
    [],
  );
});

const twoRows = { vocab: 3, u: Float64Array.of(0.1, 0.2), uInside: Float64Array.of(0.3, 0.9) };

test('the default temperature is 1', (t) => {
  const row = hills(3000, 21);
  const u = stratified(50);
  const logits = new Float32Array(50 * 3000).map((_, i) => at(row, i % 3000));
  const options = { vocab: 3000, u, uInside: u.slice().reverse() };
  t.deepEqual(draw(logits, options), draw(logits, { ...options, temperature: 1 }));
  t.notDeepEqual(draw(logits, options), draw(logits, { ...options, temperature: 0.5 }));
});

/** A row with a share of suppressed tokens, outliers of up to ±8e4, never all −inf. */
const cases = fc.record({
  vocab: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.constantFrom(1, 256, 257, 1023, 1024, 1025, 2048, 2049)),
  seed: fc.integer(),
  scale: fc.constantFrom(0, 1, 4, 30),
  temperature: fc.oneof(fc.constantFrom(1, 0.5, 2, 0.06, 10), fc.double({ min: 0.06, max: 10, noNaN: true })),
  outliers: fc.array(fc.double({ min: -8e4, max: 8e4, noNaN: true }), { maxLength: 3 }),
  suppressed: fc.constantFrom(0, 0.1, 0.9, 0.999),
  hiddenTile: fc.boolean(),
});
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

function rowOf({ vocab, seed, scale, outliers, suppressed, hiddenTile }: Case): Float32Array {
  const row = normals(vocab, seed).map((z) => z * scale);
  const uniform = generator(seed + 1);
  for (const value of outliers) row[Math.floor(uniform() * vocab)] = value;
  const kept = Math.floor(uniform() * vocab);
  const hidden = hiddenTile ? Math.floor((uniform() * vocab) / tile) : -1;
  return row.map((z, c) => (c !== kept && (uniform() < suppressed || Math.floor(c / tile) === hidden) ? -Infinity : z));
}

test('a token is that of the float64 reference, unless a uniform is within 2^-18 of a boundary', (t) => {
  const near = 2 ** -18;
  t.notThrows(() =>
    fc.assert(
      fc.property(cases, (c) => {
        const d = new Distribution(rowOf(c), { temperature: c.temperature });
        const uniform = generator(c.seed + 2);
        const u = Float64Array.from({ length: 40 }, uniform);
        const uInside = Float64Array.from({ length: 40 }, uniform);
        drawMany(d, u, uInside).forEach((token, i) => {
          const j = Math.floor(token / tile);
          const [a, b] = [at(u, i), at(uInside, i)];
          const inside = d.inside(j);
          const possible =
            lookup(d.tiles, a - near) <= j &&
            j <= lookup(d.tiles, a + near) &&
            lookup(inside, b - near) <= token % tile &&
            token % tile <= lookup(inside, b + near);
          if (!possible) throw new Error(`token ${token} for u ${a}, u' ${b}`);
        });
      }),
      { numRuns: 200 },
    ),
  );
});

test('suppressed tokens are never drawn, at either end of u and between', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(cases, fc.constantFrom(undefined, 0), (c, temperature) => {
        const d = new Distribution(rowOf(c), { temperature: temperature ?? c.temperature });
        const ends = [0, 2 ** -53, 0.5, 1 - 2 ** -20, belowOne];
        const u = ends.flatMap((x) => ends.map(() => x));
        const uInside = ends.flatMap(() => ends);
        for (const token of drawMany(d, u, uInside)) {
          if (!(token >= 0 && token < c.vocab)) throw new Error(`token ${token} of ${c.vocab}`);
          if (at(d.row, token) === -Infinity) throw new Error(`token ${token} is suppressed`);
        }
      }),
    ),
  );
});

test('rows are drawn from independently, and read where a view begins', (t) => {
  const [count, vocab] = [30, 2300];
  const whole = normals(7 + count * vocab, 30).map((z) => 3 * z);
  const u = normals(count, 31).map((z) => Math.abs(z) % 1);
  const options = { vocab, temperature: 0.7, u: Float64Array.from(u), uInside: Float64Array.from(u).reverse() };
  const together = draw(whole.subarray(7), options);
  t.is(new Set(together).size > 10, true);
  for (let i = 0; i < count; i++) {
    const row = whole.slice(7 + i * vocab, 7 + (i + 1) * vocab);
    const one = draw(row, { ...options, u: options.u.slice(i, i + 1), uInside: options.uInside.slice(i, i + 1) });
    t.is(one[0], together[i]);
  }
});

test('the logits and the uniforms are left as they were', (t) => {
  const logits = normals(2 * 1100, 32);
  const u = Float64Array.of(0.2, 0.7);
  const before = logits.slice();
  draw(logits, { vocab: 1100, u, uInside: u });
  t.deepEqual(logits, before);
  t.deepEqual(u, Float64Array.of(0.2, 0.7));
});

const poisons: [what: string, code: ErrorCode, poison: (row: Float32Array) => void][] = [
  ['a row of −inf', 'NOTHING_LEFT', (row) => row.fill(-Infinity)],
  ['NaN', 'INVALID_LOGITS', (row) => (row[1700] = NaN)],
  ['NaN in an otherwise −inf tile', 'INVALID_LOGITS', (row) => (row.fill(-Infinity, 1024, 2048)[1500] = NaN)],
  ['+inf', 'INVALID_LOGITS', (row) => (row[2499] = Infinity)],
];
for (const [what, code, poison] of poisons) {
  for (const temperature of [1, 0, 0.3]) {
    test(`${what} in any row gives ${code} at temperature ${temperature}, naming the row`, (t) => {
      const [count, vocab] = [3, 2500];
      for (let i = 0; i < count; i++) {
        const logits = normals(count * vocab, 33);
        poison(logits.subarray(i * vocab, (i + 1) * vocab));
        const u = stratified(count);
        t.throws(() => draw(logits, { vocab, temperature, u, uInside: u }), {
          instanceOf: FkinvError,
          code,
          message: new RegExp(`state ${i}, position 0$`),
        });
      }
    });
  }
}

const six = new Float32Array(6);
const invalid: [what: string, logits: unknown, options: unknown][] = [
  ['no options', six, undefined],
  ['no vocab', six, { ...twoRows, vocab: undefined }],
  ['no u', six, { ...twoRows, u: undefined }],
  ['no uInside', six, { ...twoRows, uInside: undefined }],
  ['an unknown option', six, { ...twoRows, seed: 4 }],
  ...[0, -1, 1.5, 2 ** 24 + 1, NaN, Infinity, '3', null].map((topK): [string, unknown, unknown] => [
    `topK of ${typeof topK} ${String(topK)}`,
    six,
    { ...twoRows, topK },
  ]),
  ...[0, -0.1, 1.1, NaN, Infinity, '1', null].map((topP): [string, unknown, unknown] => [
    `topP of ${typeof topP} ${String(topP)}`,
    six,
    { ...twoRows, topP },
  ]),
  ...[0, -3, 1.5, 2 ** 24 + 1, NaN, '3'].map((vocab): [string, unknown, unknown] => [
    `vocab of ${typeof vocab} ${vocab}`,
    six,
    { ...twoRows, vocab },
  ]),
  ...[-1, -0.06, 0.0599, 10.01, NaN, Infinity, '1', null].map((temperature): [string, unknown, unknown] => [
    `temperature of ${typeof temperature} ${String(temperature)}`,
    six,
    { ...twoRows, temperature },
  ]),
  ...(['u', 'uInside'] as const).flatMap((name): [string, unknown, unknown][] => [
    ...[1, -1e-300, 1.5, NaN, Infinity, -Infinity].map((value): [string, unknown, unknown] => [
      `${value} in ${name}`,
      six,
      { ...twoRows, [name]: Float64Array.of(0.5, value) },
    ]),
    [`${name} in an array`, six, { ...twoRows, [name]: [0.1, 0.2] }],
    [`${name} in float32`, six, { ...twoRows, [name]: Float32Array.of(0.1, 0.2) }],
    [`${name} too short`, six, { ...twoRows, [name]: Float64Array.of(0.1) }],
    [`${name} too long`, six, { ...twoRows, [name]: Float64Array.of(0.1, 0.2, 0.3) }],
  ]),
  ['no logits', undefined, twoRows],
  ['logits in an array', [1, 2, 3, 4, 5, 6], twoRows],
  ['logits in float64', new Float64Array(6), twoRows],
  ['logits of length 0', new Float32Array(0), { ...twoRows, u: new Float64Array(0), uInside: new Float64Array(0) }],
  ['logits of no whole row', new Float32Array(7), twoRows],
];
for (const [what, logits, options] of invalid) {
  test(`${what} gives INVALID_OPTION`, (t) => {
    t.throws(() => draw(logits as Float32Array, options as DrawOptions), {
      instanceOf: FkinvError,
      code: 'INVALID_OPTION',
    });
  });
}
