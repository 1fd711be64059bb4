import { FkinvError } from '../errors';
import { coupling, draw, philox, resample } from '../kernels';

// Cases of the kernels whose answers are known, for `fkinv doctor`: what they come to in float64, or in whole numbers.

/** One value of a kernel, and what it must be. */
interface Golden {
  what: string;
  found: ArrayLike<number>;
  expected: readonly number[];
  /** Absolute; 0 for whole numbers. */
  tolerance: number;
}

/** Known answers of Random123's Philox4x32-10: counter, key, output. */
const philoxAnswers = [
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
] as const;

/** Two positions, three tokens; S and its moments in float64. */
const pair = {
  logits: [
    0.35109996795654297, 3.4956252574920654, 0.5934379696846008, -0.6180222630500793, 1.264480710029602,
    0.0906752273440361,
  ],
  gram: [0.8335145553298077, 0.6378748022595807, 0.6378748022595807, 0.523844638169917],
  entropy: [0.3619977032000058, 0.8238030577483173],
  reward: 0.3621251977404193,
};
/** How far float32 may be from float64, on numbers up to 1. */
const float32Tolerance = 2e-6;

/** Cumulative probabilities 0.156, 0.172, 0.806, 0.922, 1 at τ = 1, and 0.055, 0.055, 0.956, 0.986, 1 at τ = 0.5. */
const row = [0.3, -2, 1.7, 0, -0.4];
const uniforms = [0.05, 0.165, 0.5, 0.9, 0.97];
const drawn = { 1: [0, 1, 2, 3, 4], 0.5: [0, 2, 2, 2, 3], 0: [2, 2, 2, 2, 2] } as const;

/** Five particles, resampled by each scheme. */
const weighted = {
  logWeights: [-3.8214550386785042, -1.169621874554819, -1.7103537155936388, -0.7244200716963269, -6.113673858724938],
  u: [0.4573053485717091, 0.5781561459676634, 0.438189867796301, 0.8457347987478886, 0.3654189646795054],
  ess: 2.7441116832987467,
  ancestors: {
    multinomial: [2, 3, 2, 3, 2],
    stratified: [1, 1, 2, 3, 3],
    residual: [1, 3, 3, 3, 2],
    systematic: [1, 1, 2, 3, 3],
  },
};

function goldenValues(): Golden[] {
  return [...randomNumbers(), ...similarities(), ...draws(), ...resamplings()];
}

function randomNumbers(): Golden[] {
  return philoxAnswers.map(([counter, key, expected]) => ({
    what: 'philox',
    found: philox(counter, key),
    expected,
    tolerance: 0,
  }));
}

function similarities(): Golden[] {
  const { gram, entropy, reward } = coupling(Float32Array.from(pair.logits), { positions: 2, vocab: 3 });
  const tolerance = float32Tolerance;
  return [
    { what: 'similarity', found: gram[0] ?? [], expected: pair.gram, tolerance },
    { what: 'entropy', found: entropy[0] ?? [], expected: pair.entropy, tolerance },
    { what: 'rewardEdit', found: reward, expected: [pair.reward], tolerance },
  ];
}

function draws(): Golden[] {
  const logits = Float32Array.from(uniforms.flatMap(() => row));
  const [u, uInside] = [new Float64Array(uniforms.length), Float64Array.from(uniforms)];
  return ([1, 0.5, 0] as const).map((temperature) => ({
    what: `draws at temperature ${temperature}`,
    found: draw(logits, { vocab: row.length, temperature, u, uInside }),
    expected: drawn[temperature],
    tolerance: 0,
  }));
}

function resamplings(): Golden[] {
  const schemes = Object.keys(weighted.ancestors) as (keyof typeof weighted.ancestors)[];
  return schemes.flatMap((scheme) => {
    const options = { scheme, u: Float64Array.from(weighted.u) };
    const { ancestors, ess } = resample(Float64Array.from(weighted.logWeights), options);
    return [
      { what: `${scheme} resampling`, found: ancestors, expected: weighted.ancestors[scheme], tolerance: 0 },
      { what: 'effective sample size', found: [ess], expected: [weighted.ess], tolerance: 1e-12 },
    ];
  });
}

/** Runs the kernels on known cases; returns how many values there were. Throws `INTERNAL` where one is wrong. */
export function checkKernels(): number {
  const values = goldenValues();
  for (const { what, found, expected, tolerance } of values) {
    const fits = expected.every((value, i) => Math.abs((found[i] ?? NaN) - value) <= tolerance);
    if (fits && found.length === expected.length) continue;
    throw new FkinvError(
      'INTERNAL',
      `the kernels give ${Array.from(found).join(' ')} for the ${what} of a case whose answer is ${expected.join(' ')}`,
    );
  }
  return values.reduce((sum, { expected }) => sum + expected.length, 0);
}
