import test from 'ava';
import fc from 'fast-check';
import { FkinvError, type ErrorCode } from 'fkinv-native';
import { coupling, type CouplingOptions } from 'fkinv-native/kernels';
import { at, close, generator, normals } from '../helpers/kernels/golden';
import {
  expectClose,
  faults,
  goldenCases,
  goldenLogits,
  moments,
  reference,
  stateOf,
} from '../helpers/kernels/similarity';

for (const c of goldenCases) {
  test(`the golden case ${c.name} is met within the bounds of float32`, (t) => {
    const { positions, vocab, entropy, rowMax } = c;
    const result = coupling(goldenLogits(c), { positions, vocab });
    const expected = {
      gram: c.gram.flat(),
      mean: c.offMean,
      variance: c.offVariance,
      reward: c.reward,
      entropy,
      rowMax: [...Float32Array.from(rowMax)],
    };
    t.deepEqual(faults(stateOf(result), expected), []);
    t.true(Object.values(result).every((list: unknown[]) => list.length === 1));
  });

  test(`the golden case ${c.name}: mean and variance are those of S over any counted positions`, (t) => {
    const { positions, vocab } = c;
    const uniform = generator(c.positions * 1000 + c.vocab);
    for (let trial = 0; trial < 8; trial++) {
      const counted = Uint8Array.from({ length: positions }, () => (uniform() < 0.6 ? 1 + uniform() * 255 : 0));
      const result = coupling(goldenLogits(c), { positions, vocab, counted });
      const expected = moments(c.gram.flat(), positions, counted);
      const mask = counted.join(' ');
      t.true(close(at(result.mean, 0), expected.mean, 1e-5, 1e-7), `mean of ${mask}`);
      const deviations = [Math.sqrt(at(result.variance, 0)), Math.sqrt(expected.variance)] as const;
      t.true(close(...deviations, 1e-5, 1e-7), `deviation of ${mask}: ${deviations.join(' is not ')}`);
      t.true(close(at(result.reward, 0), expected.reward, 1e-5, 1e-7), `reward of ${mask}`);

      // From the float32 S that came back, to float64 rounding.
      const own = moments(at(result.gram, 0), positions, counted);
      t.true(close(at(result.mean, 0), own.mean, 1e-12), `mean of the returned S, ${mask}`);
      t.true(close(at(result.variance, 0), own.variance, 1e-9, 1e-30), `variance of the returned S, ${mask}`);
    }
  });
}

test('a mask changes mean, variance and reward, and nothing else', (t) => {
  const logits = normals(6 * 100, 1);
  const options = { positions: 6, vocab: 100 };
  const all = coupling(logits, options);
  const masked = coupling(logits, { ...options, counted: Uint8Array.of(1, 0, 1, 1, 0, 1) });
  const { gram, entropy, rowMax } = all;
  t.deepEqual(masked, { ...masked, gram, entropy, rowMax });
  t.notDeepEqual(masked.mean, all.mean);
  t.deepEqual(coupling(logits, { ...options, counted: new Uint8Array(6).fill(255) }), all);
});

test('where all S are nearly equal the variance is still theirs, to float64 rounding', (t) => {
  for (const [positions, noise] of [
    [5, 1e-3],
    [9, 1e-5],
    [20, 1e-6],
  ] as const) {
    const vocab = 40;
    const row = normals(vocab, 8).map((z) => 2 * z);
    const logits = normals(positions * vocab, 9).map((z, i) => at(row, i % vocab) + noise * z);
    const { gram, variance } = stateOf(coupling(logits, { positions, vocab }));
    const own = moments(gram, positions).variance;
    t.true(own > 0 && own < 1e-6);
    t.true(close(variance, own, 1e-9), `${variance}, not ${own}`);
  }
});

test('fewer than two counted positions give mean and variance 0 and reward 1', (t) => {
  const logits = normals(4 * 4 * 50, 2);
  const counted = Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 1, 1, 0, 0);
  const { mean, variance, reward, gram } = coupling(logits, { positions: 4, vocab: 50, counted });
  t.deepEqual(mean.slice(0, 3), [0, 0, 0]);
  t.deepEqual(variance.slice(0, 3), [0, 0, 0]);
  t.deepEqual(reward.slice(0, 3), [1, 1, 1]);
  t.is(mean[3], gram[3]?.[1], 'of two, the mean is their one S');
  t.is(variance[3], 0);

  const single = coupling(logits, { positions: 1, vocab: 800 });
  t.deepEqual([single.mean, single.variance, single.reward], [[0], [0], [1]]);
});

test('several states at once give each state its own result, bit for bit', (t) => {
  const states = 5;
  for (const [positions, vocab] of [
    [1, 1],
    [3, 7],
    [7, 1024],
    [11, 2500],
  ] as const) {
    const size = positions * vocab;
    const logits = normals(states * size, vocab).map((z, i) => z * (1 + Math.floor(i / size)));
    const counted = Uint8Array.from({ length: states * positions }, (_, i) => (i % 5 === 1 ? 0 : 1));
    const together = coupling(logits, { positions, vocab, counted });
    for (let q = 0; q < states; q++) {
      const mask = counted.slice(q * positions, (q + 1) * positions);
      const alone = coupling(logits.slice(q * size, (q + 1) * size), { positions, vocab, counted: mask });
      t.deepEqual(stateOf(together, q), stateOf(alone), `state ${q} of ${positions} × ${vocab}`);
    }
  }
});

test('a row is the same for any neighbours, bit for bit', (t) => {
  const vocab = 1500;
  const logits = normals(9 * vocab, 3);
  const all = coupling(logits, { positions: 9, vocab });
  const few = coupling(logits.slice(4 * vocab, 6 * vocab), { positions: 2, vocab });
  t.deepEqual(few.entropy[0], all.entropy[0]?.slice(4, 6));
  t.deepEqual(few.rowMax[0], all.rowMax[0]?.slice(4, 6));
  t.is(few.gram[0]?.[1], all.gram[0]?.[4 * 9 + 5]);
});

test('logits that are a view into a larger buffer are read from where the view begins', (t) => {
  const whole = normals(5 + 6 * 40, 4);
  const options = { positions: 6, vocab: 40 };
  t.deepEqual(coupling(whole.subarray(5), options), coupling(whole.slice(5), options));
});

test('the logits are left as they were', (t) => {
  const logits = normals(3 * 1100, 5);
  const before = logits.slice();
  coupling(logits, { positions: 3, vocab: 1100 });
  t.deepEqual(logits, before);
});

/** Random logits: normal times `scale`, a few outliers of up to ±8e4, a share suppressed but never a whole row. */
interface Shape {
  positions: number;
  vocab: number;
  seed: number;
  scale: number;
  outliers: { at: number; value: number }[];
  suppressed: number;
}
const shapes: fc.Arbitrary<Shape> = fc.record({
  positions: fc.integer({ min: 1, max: 20 }),
  vocab: fc.oneof(
    fc.integer({ min: 1, max: 3000 }),
    fc.constantFrom(1, 15, 16, 17, 255, 256, 257, 1023, 1024, 1025, 1280, 2047, 2048, 2049, 2305),
  ),
  seed: fc.integer(),
  scale: fc.constantFrom(0, 1e-3, 1, 4, 20, 500),
  outliers: fc.array(
    fc.record({ at: fc.double({ min: 0, max: 0.999, noNaN: true }), value: fc.double({ min: -8e4, max: 8e4 }) }),
    { maxLength: 6 },
  ),
  suppressed: fc.constantFrom(0, 0, 0.1, 0.9),
});

function logitsOfShape({ positions, vocab, seed, scale, outliers, suppressed }: Shape): Float32Array {
  const logits = normals(positions * vocab, seed).map((z) => z * scale);
  for (const outlier of outliers) {
    if (!Number.isNaN(outlier.value)) logits[Math.floor(outlier.at * logits.length)] = outlier.value;
  }
  const uniform = generator(seed + 1);
  for (let row = 0; row < positions; row++) {
    const kept = Math.floor(uniform() * vocab);
    for (let c = 0; c < vocab; c++) if (uniform() < suppressed && c !== kept) logits[row * vocab + c] = -Infinity;
  }
  return logits;
}

test('any logits give the float64 reference within the bounds of float32', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(shapes, (shape) => {
        const { positions, vocab } = shape;
        const logits = logitsOfShape(shape);
        expectClose(stateOf(coupling(logits, { positions, vocab })), reference(logits, positions, vocab));
      }),
    ),
  );
});

test('rows whose maximum is in another tile each give the float64 reference', (t) => {
  const [positions, vocab] = [6, 5000];
  for (const step of [1, 6, 40, 1000]) {
    // Every row climbs by `step` a tile up to a tile of its own, and falls from there.
    const logits = normals(positions * vocab, step).map((z, i) => {
      const [row, tile] = [Math.floor(i / vocab), Math.floor((i % vocab) / 1024)];
      return z - step * Math.abs(tile - (row % 5));
    });
    const actual = stateOf(coupling(logits, { positions, vocab }));
    t.deepEqual(faults(actual, reference(logits, positions, vocab)), [], `step ${step}`);
  }
});

test('S is symmetric to the bit and within 0 and 1, entropy within 0 and ln V, reward 1 − (μ + σ)', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(shapes, (shape) => {
        const { positions, vocab } = shape;
        const { gram, mean, variance, reward, entropy } = stateOf(coupling(logitsOfShape(shape), { positions, vocab }));
        for (let i = 0; i < positions; i++) {
          for (let j = 0; j < positions; j++) {
            const s = at(gram, i * positions + j);
            if (s !== at(gram, j * positions + i)) throw new Error(`S is not symmetric at ${i}, ${j}`);
            if (!(s >= 0 && s <= 1 + 1e-6)) throw new Error(`S is ${s} at ${i}, ${j}`);
          }
          const h = at(entropy, i);
          if (!(h >= 0 && h <= Math.log(vocab) * (1 + 1e-5) + 1e-6)) throw new Error(`entropy ${h} at ${i}`);
        }
        if (reward !== 1 - (mean + Math.sqrt(variance))) throw new Error(`reward ${reward}`);
      }),
    ),
  );
});

test('a constant added to a row changes its maximum only', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(
        shapes,
        fc.array(fc.integer({ min: -8000, max: 8000 }), { minLength: 20, maxLength: 20 }),
        (s, by) => {
          const { positions, vocab } = s;
          // Multiples of 1/64 below 2^17: the sums are exact in float32.
          const logits = logitsOfShape(s).map((z) => Math.round(Math.max(z, z === -Infinity ? z : -4e3) * 64) / 64);
          const shifted = logits.map((z, i) => z + at(by, Math.floor(i / vocab)));
          const before = stateOf(coupling(logits, { positions, vocab }));
          const rowMax = Float32Array.from(before.rowMax, (max, i) => max + at(by, i));
          expectClose(stateOf(coupling(shifted, { positions, vocab })), { ...before, rowMax });
        },
      ),
    ),
  );
});

test('suppressing columns by −inf equals removing them', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(shapes, fc.double({ min: 0, max: 1, noNaN: true }), (s, share) => {
        const { positions, vocab } = s;
        const uniform = generator(s.seed + 2);
        const kept = Math.floor(uniform() * vocab);
        const keeps = Array.from({ length: vocab }, (_, c) => c === kept || uniform() >= share);
        const left = logitsOfShape({ ...s, suppressed: 0 });
        const suppressed = left.map((z, i) => (at(keeps, i % vocab) ? z : -Infinity));
        const removed = left.filter((_, i) => at(keeps, i % vocab));
        const fewer = removed.length / positions;
        expectClose(
          stateOf(coupling(suppressed, { positions, vocab })),
          stateOf(coupling(removed, { positions, vocab: fewer })),
        );
      }),
    ),
  );
});

test('exchanging positions exchanges rows and columns of S, to the bit', (t) => {
  const [positions, vocab] = [8, 1300];
  const logits = normals(positions * vocab, 6).map((z) => 3 * z);
  const reversed = Float32Array.from(logits, (_, i) => {
    const row = positions - 1 - Math.floor(i / vocab);
    return at(logits, row * vocab + (i % vocab));
  });
  const { gram } = stateOf(coupling(logits, { positions, vocab }));
  t.deepEqual(at(coupling(reversed, { positions, vocab }).gram, 0), Float32Array.from(gram).reverse());
});

test('equal one-hot rows are fully coupled: S is 1, reward 0', (t) => {
  const [positions, vocab] = [5, 2100];
  const logits = new Float32Array(positions * vocab).map((_, i) => (i % vocab === 2050 ? 8e4 : -8e4));
  t.deepEqual(
    faults(stateOf(coupling(logits, { positions, vocab })), {
      gram: Array<number>(positions * positions).fill(1),
      mean: 1,
      variance: 0,
      reward: 0,
      entropy: Array<number>(positions).fill(0),
      rowMax: Array<number>(positions).fill(8e4),
    }),
    [],
  );
});

const poisons: [what: string, code: ErrorCode, poison: (row: Float32Array) => void][] = [
  ['a row of −inf', 'NOTHING_LEFT', (row) => row.fill(-Infinity)],
  ['NaN', 'INVALID_LOGITS', (row) => (row[1700] = NaN)],
  ['+inf', 'INVALID_LOGITS', (row) => (row[3] = Infinity)],
  ['a row of +inf', 'INVALID_LOGITS', (row) => row.fill(Infinity)],
  ['a row of NaN', 'INVALID_LOGITS', (row) => row.fill(NaN)],
  ['NaN in the last column', 'INVALID_LOGITS', (row) => (row[2499] = NaN)],
  ['NaN in an otherwise −inf tile', 'INVALID_LOGITS', (row) => (row.fill(-Infinity, 1024, 2048)[1500] = NaN)],
  ['NaN in an otherwise −inf last tile', 'INVALID_LOGITS', (row) => (row.fill(-Infinity, 2048)[2048] = NaN)],
  ['NaN in an otherwise −inf row', 'INVALID_LOGITS', (row) => (row.fill(-Infinity)[700] = NaN)],
  ['+inf in an otherwise −inf row', 'INVALID_LOGITS', (row) => (row.fill(-Infinity)[700] = Infinity)],
  ['NaN beside a maximum of 1e5', 'INVALID_LOGITS', (row) => row.set([1e5, NaN], 1023)],
];
for (const [what, code, poison] of poisons) {
  test(`${what} gives ${code}, naming state and position`, (t) => {
    const [positions, vocab] = [4, 2500];
    for (const [state, position] of [
      [0, 0],
      [1, 2],
      [2, 3],
    ] as const) {
      const logits = normals(3 * positions * vocab, 7);
      const first = (state * positions + position) * vocab;
      poison(logits.subarray(first, first + vocab));
      const error = t.throws(() => coupling(logits, { positions, vocab }), { instanceOf: FkinvError });
      t.is(error.code, code);
      t.regex(error.message, new RegExp(`state ${state}, position ${position}$`));
    }
  });
}

test('finite logits are never an error, however large, and the only one left has probability 1', (t) => {
  const max = 3.4028234663852886e38;
  const logits = Float32Array.of(max, -max, 0, -max, -Infinity, -max, -Infinity, -Infinity, 5);
  const gram = [1, 0.5, 0, 0.5, 0.5, 0.5, 0, 0.5, 1];
  t.deepEqual(
    faults(stateOf(coupling(logits, { positions: 3, vocab: 3 })), {
      gram,
      ...moments(gram, 3),
      entropy: [0, Math.LN2, 0],
      rowMax: [max, -max, 5],
    }),
    [],
  );
});

const good = { positions: 2, vocab: 3 };
const invalid: [what: string, logits: unknown, options: unknown][] = [
  ['no options', new Float32Array(6), undefined],
  ['null for options', new Float32Array(6), null],
  ['no positions', new Float32Array(6), { vocab: 3 }],
  ['no vocab', new Float32Array(6), { positions: 2 }],
  ['an unknown option', new Float32Array(6), { ...good, temperature: 1 }],
  ...[0, -1, 1.5, 4097, NaN, Infinity, '2', null].map((positions): [string, unknown, unknown] => [
    `positions of ${JSON.stringify(positions)} ${String(positions)}`,
    new Float32Array(6),
    { ...good, positions },
  ]),
  ...[0, -3, 1.5, 2 ** 24 + 1, NaN, Infinity, '3', null].map((vocab): [string, unknown, unknown] => [
    `vocab of ${JSON.stringify(vocab)} ${String(vocab)}`,
    new Float32Array(6),
    { ...good, vocab },
  ]),
  ['no logits', undefined, good],
  ['logits in an array', [1, 2, 3, 4, 5, 6], good],
  ['logits in float64', new Float64Array(6), good],
  ['logits of length 0', new Float32Array(0), good],
  ['logits of no whole row', new Float32Array(7), good],
  ['logits of a state and a half', new Float32Array(9), good],
  ['counted in an array', new Float32Array(6), { ...good, counted: [1, 1] }],
  ['counted in another typed array', new Float32Array(6), { ...good, counted: new Int32Array(2) }],
  ['counted too short', new Float32Array(6), { ...good, counted: new Uint8Array(1) }],
  ['counted too long', new Float32Array(6), { ...good, counted: new Uint8Array(3) }],
  ['counted of one of two states', new Float32Array(12), { ...good, counted: new Uint8Array(2) }],
];
for (const [what, logits, options] of invalid) {
  test(`${what} gives INVALID_OPTION`, (t) => {
    t.throws(() => coupling(logits as Float32Array, options as CouplingOptions), {
      instanceOf: FkinvError,
      code: 'INVALID_OPTION',
    });
  });
}
