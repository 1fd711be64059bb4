import test from 'ava';
import fc from 'fast-check';
import { FkinvError } from 'fkinv-native';
import { philox, resample, type ResampleOptions, type ResamplingScheme } from 'fkinv-native/kernels';
import { at, belowOne, close, generator, golden, stratified, sum } from '../helpers/kernels/golden';

const schemes = ['multinomial', 'stratified', 'residual', 'systematic'] as const;

type GoldenCase = { kind: string; logWeights: number[]; u: number[]; ess: number } & Record<ResamplingScheme, number[]>;
// A weight of 0 is a string in the file.
const file = golden('resampling.json') as (Omit<GoldenCase, 'logWeights'> & { logWeights: (number | string)[] })[];
const cases = file.map((c) => ({ ...c, logWeights: c.logWeights.map((w) => (w === '-inf' ? -Infinity : Number(w))) }));

interface Potential {
  cases: {
    particles: number;
    never: { logWeights: number[][]; weights: number[][]; ess: number[] };
    always: { logPotential: number[][]; weights: number[][]; ess: number[] };
  }[];
}
const potential = golden('potential.json') as Potential;

function ancestorsOf(logWeights: ArrayLike<number>, scheme: ResamplingScheme, u: ArrayLike<number>): number[] {
  return [...resample(Float64Array.from(logWeights), { scheme, u: Float64Array.from(u) }).ancestors];
}

function essOf(logWeights: ArrayLike<number>): number {
  const u = new Float64Array(logWeights.length);
  return resample(Float64Array.from(logWeights), { scheme: 'multinomial', u }).ess;
}

/** exp(logWeights), normalised, in float64. */
function weightsOf(logWeights: ArrayLike<number>): number[] {
  const list = Array.from(logWeights);
  const max = Math.max(...list);
  const e = list.map((w) => Math.exp(w - max));
  const total = sum(e);
  return e.map((x) => x / total);
}

function copiesOf(ancestors: number[], particles: number): number[] {
  const copies = new Array<number>(particles).fill(0);
  for (const a of ancestors) copies[a] = at(copies, a) + 1;
  return copies;
}

for (const scheme of schemes) {
  cases.forEach((c, i) => {
    test(`golden case ${i}, ${c.kind}, K = ${c.u.length}: the ancestors of ${scheme} are exact, ESS to 1e-9`, (t) => {
      const { ancestors, ess } = resample(Float64Array.from(c.logWeights), { scheme, u: Float64Array.from(c.u) });
      t.deepEqual([...ancestors], c[scheme]);
      t.true(close(ess, c.ess, 1e-9), `${ess}, not ${c.ess}`);
    });
  });
}

for (const { particles, never, always } of potential.cases) {
  for (const [name, logWeights, weights, ess] of [
    ['carried', never.logWeights, never.weights, never.ess],
    ['reset', always.logPotential, always.weights, always.ess],
  ] as const) {
    test(`the golden potentials of ${particles} particles, ${name}: ESS to 1e-9`, (t) => {
      logWeights.forEach((row, step) => {
        t.true(close(essOf(row), at(ess, step), 1e-9), `step ${step}: ${essOf(row)}, not ${at(ess, step)}`);
      });
    });

    test(`the golden potentials of ${particles} particles, ${name}: the ancestor changes where the weights add up`, (t) => {
      logWeights.forEach((row, step) => {
        let cumulative = 0;
        const edges = at(weights, step).map((w) => (cumulative += w));
        const slots = edges.map((_, j) => j);
        const below = edges.map((edge) => edge - 1e-12);
        const above = edges.map((edge, j) => (j < particles - 1 ? edge + 1e-12 : belowOne));
        t.deepEqual(ancestorsOf(row, 'multinomial', below), slots, `step ${step}`);
        const next = slots.map((j) => Math.min(j + 1, particles - 1));
        t.deepEqual(ancestorsOf(row, 'multinomial', above), next, `step ${step}`);
      });
    });
  }
}

/** Log-weights, some −inf or far below, never all −inf, with a uniform each: the ends of [0, 1) come up often. */
const uniformOf = fc.oneof(fc.constantFrom(0, 2 ** -53, belowOne), fc.double({ min: 0, max: belowOne, noNaN: true }));
const weighted = fc
  .record({
    entries: fc.array(
      fc.record({
        logWeight: fc.oneof(
          { weight: 3, arbitrary: fc.double({ min: -8, max: 8, noNaN: true }) },
          { weight: 1, arbitrary: fc.constantFrom(-Infinity, -800, 0, 1) },
        ),
        u: uniformOf,
      }),
      { minLength: 1, maxLength: 64 },
    ),
    finite: fc.nat(),
    offset: fc.constantFrom(0, -1e4, 1e6),
  })
  .map(({ entries, finite, offset }) => {
    const logWeights = Float64Array.from(entries, ({ logWeight }) => logWeight + offset);
    if (logWeights.every((w) => w === -Infinity)) logWeights[finite % logWeights.length] = offset;
    return { logWeights, u: Float64Array.from(entries, ({ u }) => u) };
  });

for (const scheme of schemes) {
  test(`${scheme}: every ancestor has a positive weight, for u at 0, just under 1 and between`, (t) => {
    t.notThrows(() =>
      fc.assert(
        fc.property(weighted, ({ logWeights, u }) => {
          const weights = weightsOf(logWeights);
          const ancestors = ancestorsOf(logWeights, scheme, u);
          if (ancestors.length !== u.length) throw new Error(`${ancestors.length} ancestors`);
          const dead = ancestors.filter((a) => !(at(weights, a) > 0));
          if (dead.length > 0) throw new Error(`ancestors ${ancestors.join(' ')}, weights ${weights.join(' ')}`);
        }),
        { numRuns: 500 },
      ),
    );
  });

  test(`${scheme}: one particle left is the ancestor of all`, (t) => {
    for (const left of [0, 3, 7]) {
      const logWeights = new Float64Array(8).fill(-Infinity);
      logWeights[left] = -12;
      for (const u of [0, 0.3, belowOne]) {
        t.deepEqual(ancestorsOf(logWeights, scheme, Array(8).fill(u)), Array(8).fill(left));
      }
      t.true(close(essOf(logWeights), 1, 1e-15));
    }
  });

  test(`${scheme}: u of 0 takes no particle of weight 0 before the first, u just under 1 none after the last`, (t) => {
    const logWeights = [-Infinity, -Infinity, 0, -1, -Infinity, -2, -Infinity];
    t.is(Math.min(...ancestorsOf(logWeights, scheme, Array(7).fill(0))), 2);
    t.is(Math.max(...ancestorsOf(logWeights, scheme, Array(7).fill(belowOne))), 5);
  });

  test(`${scheme}: a constant added to all log-weights changes nothing`, (t) => {
    const uniform = generator(1);
    for (let trial = 0; trial < 20; trial++) {
      // Multiples of 2^-20 below 2^24: the sums are exact.
      const logWeights = Array.from({ length: 17 }, () => Math.round(uniform() * 6 * 2 ** 20) / 2 ** 20);
      const u = Float64Array.from(logWeights, uniform);
      const expected = resample(Float64Array.from(logWeights), { scheme, u });
      for (const by of [-1e6, -745, 710, 1e6]) {
        t.deepEqual(
          resample(
            Float64Array.from(logWeights, (w) => w + by),
            { scheme, u },
          ),
          expected,
        );
      }
    }
  });

  test(`${scheme}: over many draws each particle has K times its weight of copies`, (t) => {
    const logWeights = [0.3, -1, -Infinity, 2, 0.8, -3, 1.1, 0, -0.2, 1.9];
    const [particles, draws] = [logWeights.length, 4000];
    const copies = new Array<number>(particles).fill(0);
    for (let i = 0; i < draws; i++) {
      copiesOf(ancestorsOf(logWeights, scheme, uniformsOf(i, particles)), particles).forEach((count, k) => {
        copies[k] = at(copies, k) + count;
      });
    }
    weightsOf(logWeights).forEach((w, k) => {
      // No scheme varies more than multinomial: five of its standard deviations.
      const [expected, deviation] = [draws * particles * w, Math.sqrt(draws * particles * w * (1 - w))];
      t.true(Math.abs(at(copies, k) - expected) <= 5 * deviation, `${at(copies, k)} of ${k}, not ${expected}`);
    });
  });
}

/** The uniforms `u` of resampling at a step, as algorithm.md makes them, seed 7. */
function uniformsOf(step: number, particles: number): Float64Array {
  return Float64Array.from({ length: particles }, (_, slot) => {
    const [low = 0, high = 0] = philox([step, slot, 0, 3 * 2 ** 24], [7, 0]);
    return Number(((BigInt(high) << 32n) | BigInt(low)) >> 11n) * 2 ** -53;
  });
}

test('frequencies of multinomial over 32000 Philox uniforms pass a chi-square test', (t) => {
  const logWeights = Array.from({ length: 16 }, (_, k) => Math.sin(k * 1.7) * 1.5);
  const counts = new Array<number>(16).fill(0);
  const draws = 2000;
  for (let step = 0; step < draws; step++) {
    for (const a of ancestorsOf(logWeights, 'multinomial', uniformsOf(step, 16))) counts[a] = at(counts, a) + 1;
  }
  const squares = weightsOf(logWeights).map((w, k) => (at(counts, k) - draws * 16 * w) ** 2 / (draws * 16 * w));
  // 15 degrees of freedom: 37.7 is passed over once in a thousand seeds.
  t.true(sum(squares) < 37.7, `chi-square ${sum(squares)}`);
});

test('multinomial over stratified u gives each particle its share to within 1', (t) => {
  const particles = 5000;
  const uniform = generator(2);
  const logWeights = Float64Array.from({ length: particles }, () => 12 * uniform() ** 2);
  const copies = copiesOf(ancestorsOf(logWeights, 'multinomial', stratified(particles)), particles);
  weightsOf(logWeights).forEach((w, k) => {
    t.true(Math.abs(at(copies, k) - particles * w) <= 1, `${at(copies, k)} of ${k}, not ${particles * w}`);
  });
});

test('u at a boundary belongs to the particle after it', (t) => {
  // Four equal weights: every sum is exact.
  const logWeights = [-2, -2, -2, -2];
  const edges = [0, 0.25, 0.5, 0.75];
  t.deepEqual(ancestorsOf(logWeights, 'multinomial', edges), [0, 1, 2, 3]);
  t.deepEqual(
    ancestorsOf(logWeights, 'multinomial', [0.25 - 2 ** -54, 0.5 - 2 ** -54, 0.75 - 2 ** -53, belowOne]),
    [0, 1, 2, 3],
  );
  t.deepEqual(ancestorsOf(logWeights, 'systematic', [0, 0, 0, 0]), [0, 1, 2, 3]);
  t.deepEqual(ancestorsOf(logWeights, 'stratified', [0, 0, 0, 0]), [0, 1, 2, 3]);
});

for (const scheme of ['stratified', 'residual', 'systematic'] as const) {
  test(`${scheme}: with equal weights the ancestors are the identity and ESS is K`, (t) => {
    t.notThrows(() =>
      fc.assert(
        fc.property(
          fc.array(uniformOf, { minLength: 1, maxLength: 128 }),
          fc.double({ min: -1e6, max: 1e6, noNaN: true }),
          (u, weight) => {
            const logWeights = new Float64Array(u.length).fill(weight);
            const { ancestors, ess } = resample(logWeights, { scheme, u: Float64Array.from(u) });
            if (ancestors.some((a, k) => a !== k)) throw new Error(`ancestors ${ancestors.join(' ')}`);
            if (ess !== u.length) throw new Error(`ESS ${ess}`);
          },
        ),
        { numRuns: 300 },
      ),
    );
  });
}

test('residual: slots are first filled in order with ⌊K·w⌋ copies of each particle', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(weighted, ({ logWeights, u }) => {
        const ancestors = ancestorsOf(logWeights, 'residual', u);
        const expected = weightsOf(logWeights).map((w) => u.length * w);
        // A share that is whole but for rounding may count as one less.
        fc.pre(expected.every((x) => x === 0 || Math.abs(x - Math.round(x)) > 1e-9 || x < 0.5));
        const kept = expected.flatMap((x, k) => Array<number>(Math.floor(x)).fill(k));
        const head = ancestors.slice(0, kept.length);
        if (head.join() !== kept.join()) throw new Error(`${head.join(' ')}, not ${kept.join(' ')}`);
        // A slot of the rest takes the uniform of its slot, over the remainders.
        const remainders = expected.map((x) => x - Math.floor(x));
        let cumulative = 0;
        const edges = remainders.map((r) => (cumulative += r));
        for (let slot = kept.length; slot < u.length; slot++) {
          const [a, target] = [at(ancestors, slot), at(u, slot) * cumulative];
          const fits = target <= at(edges, a) + 1e-9 && target >= at(edges, a) - at(remainders, a) - 1e-9;
          if (!fits) throw new Error(`slot ${slot} took ${a}`);
        }
      }),
      { numRuns: 500 },
    ),
  );
});

test('stratified and systematic: ancestors are in order, copies within 2 and 1 of K·w', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(weighted, ({ logWeights, u }) => {
        const expected = weightsOf(logWeights).map((w) => u.length * w);
        for (const [scheme, most] of [
          ['stratified', 2],
          ['systematic', 1],
        ] as const) {
          const ancestors = ancestorsOf(logWeights, scheme, u);
          if (ancestors.some((a, k) => k > 0 && a < at(ancestors, k - 1))) throw new Error(ancestors.join(' '));
          copiesOf(ancestors, u.length).forEach((count, k) => {
            if (Math.abs(count - at(expected, k)) > most + 1e-9) throw new Error(`${scheme}: ${count} copies of ${k}`);
          });
        }
      }),
    ),
  );
});

test('systematic reads the first uniform only', (t) => {
  const logWeights = [0, 1, -1, 0.5, 2];
  const alone = ancestorsOf(logWeights, 'systematic', [0.37, 0, 0, 0, 0]);
  t.deepEqual(ancestorsOf(logWeights, 'systematic', [0.37, 0.9, 0.1, 0.5, belowOne]), alone);
  t.notDeepEqual(ancestorsOf(logWeights, 'systematic', [0.99, 0, 0, 0, 0]), alone);
});

test('ESS is (Σw)²/Σw², from 1 to K', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(weighted, ({ logWeights }) => {
        const ess = essOf(logWeights);
        const expected = 1 / sum(weightsOf(logWeights).map((w) => w * w));
        if (!close(ess, expected, 1e-9)) throw new Error(`${ess}, not ${expected}`);
        if (!(ess >= 1 - 1e-12 && ess <= logWeights.length * (1 + 1e-12))) throw new Error(`ESS ${ess}`);
      }),
    ),
  );
});

test('log-weights and uniforms are left as they were', (t) => {
  const logWeights = Float64Array.of(-1, 2, -Infinity);
  const u = Float64Array.of(0.1, 0.2, 0.3);
  for (const scheme of schemes) resample(logWeights, { scheme, u });
  t.deepEqual(logWeights, Float64Array.of(-1, 2, -Infinity));
  t.deepEqual(u, Float64Array.of(0.1, 0.2, 0.3));
});

const degenerate: [what: string, logWeights: number[]][] = [
  ['all −inf', [-Infinity, -Infinity, -Infinity]],
  ['a single −inf', [-Infinity]],
  ['NaN first', [NaN, 0, 1]],
  ['NaN last', [0, 1, NaN]],
  ['NaN between', [0, NaN, 1]],
  ['NaN among −inf', [-Infinity, NaN, -Infinity]],
  ['all NaN', [NaN, NaN]],
  ['+inf first', [Infinity, 0, 1]],
  ['+inf last', [0, 1, Infinity]],
  ['all +inf', [Infinity, Infinity]],
  ['+inf and −inf', [-Infinity, Infinity]],
  ['+inf and NaN', [Infinity, NaN, 0]],
];
for (const [what, logWeights] of degenerate) {
  test(`${what} gives DEGENERATE_WEIGHTS for every scheme`, (t) => {
    for (const scheme of schemes) {
      t.throws(
        () =>
          ancestorsOf(
            logWeights,
            scheme,
            logWeights.map(() => 0.5),
          ),
        {
          instanceOf: FkinvError,
          code: 'DEGENERATE_WEIGHTS',
        },
      );
    }
  });
}

const two = Float64Array.of(0, 1);
const good = { scheme: 'stratified', u: Float64Array.of(0.1, 0.2) };
const invalid: [what: string, logWeights: unknown, options: unknown][] = [
  ['no options', two, undefined],
  ['no scheme', two, { u: good.u }],
  ['no u', two, { scheme: good.scheme }],
  ['an unknown option', two, { ...good, threshold: 0.5 }],
  ...['killing', 'Multinomial', '', 0, null].map((scheme): [string, unknown, unknown] => [
    `scheme ${JSON.stringify(scheme)}`,
    two,
    { ...good, scheme },
  ]),
  ...[1, -1e-300, 1.5, NaN, Infinity, -Infinity].map((value): [string, unknown, unknown] => [
    `${value} in u`,
    two,
    { ...good, u: Float64Array.of(0.5, value) },
  ]),
  ['u in an array', two, { ...good, u: [0.1, 0.2] }],
  ['u in float32', two, { ...good, u: Float32Array.of(0.1, 0.2) }],
  ['u too short', two, { ...good, u: Float64Array.of(0.1) }],
  ['u too long', two, { ...good, u: Float64Array.of(0.1, 0.2, 0.3) }],
  ['u too short for systematic', two, { scheme: 'systematic', u: Float64Array.of(0.1) }],
  ['no log-weights', undefined, good],
  ['log-weights in an array', [0, 1], good],
  ['log-weights in float32', Float32Array.of(0, 1), good],
  ['log-weights of length 0', new Float64Array(0), { ...good, u: new Float64Array(0) }],
];
for (const [what, logWeights, options] of invalid) {
  test(`${what} gives INVALID_OPTION`, (t) => {
    t.throws(() => resample(logWeights as Float64Array, options as ResampleOptions), {
      instanceOf: FkinvError,
      code: 'INVALID_OPTION',
    });
  });
}
