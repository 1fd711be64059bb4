// Logits of 16 bits: the kernels read them as the float32 numbers they are.
import test from 'ava';
import { FkinvError } from 'fkinv-native';
import { coupling, draw, type CouplingOptions, type DrawOptions } from 'fkinv-native/kernels';
import { formats, generator, hills, normals, stratified } from '../helpers/kernels/golden';
import { faults, goldenCases, goldenLogits, reference, stateOf } from '../helpers/kernels/similarity';

const positionsAndVocab: [number, number][] = [
  [5, 1],
  [4, 3],
  [6, 7],
  [3, 255],
  [3, 257],
  [4, 1023],
  [3, 1025],
  [2, 2049],
  [2, 50257],
];

for (const format of formats) {
  const { type } = format;

  for (const c of goldenCases) {
    const { name, positions, vocab } = c;
    const { bits, rounded } = format.round(goldenLogits(c));
    if (rounded.includes(Infinity)) {
      test(`the golden case ${name} is too large for ${type}: INVALID_LOGITS`, (t) => {
        t.is(`${name} in ${type}`, 'huge in float16');
        t.throws(() => coupling(bits, { positions, vocab, type }), {
          instanceOf: FkinvError,
          code: 'INVALID_LOGITS',
          message: /state 0, position 0$/,
        });
      });
      continue;
    }
    test(`the golden case ${name} rounded to ${type} is met within the bounds of float32`, (t) => {
      const result = coupling(bits, { positions, vocab, type });
      t.deepEqual(faults(stateOf(result), reference(rounded, positions, vocab)), []);
    });
  }

  test(`${type}: any logits give the float64 reference of the rounded ones within the bounds of float32`, (t) => {
    for (const [positions, vocab] of positionsAndVocab) {
      for (const scale of [0.01, 1, 8, 400]) {
        const uniform = generator(vocab);
        const logits = normals(positions * vocab, vocab).map((z, i) =>
          i % vocab > 0 && uniform() < 0.1 ? -Infinity : scale * z,
        );
        const { bits, rounded } = format.round(logits);
        const result = coupling(bits, { positions, vocab, type });
        const found = faults(stateOf(result), reference(rounded, positions, vocab));
        t.deepEqual(found, [], `${positions} × ${vocab}, scale ${scale}`);
      }
    }
  });

  test(`${type}: several states, rows of odd width, and views that begin anywhere are as in float32, bit for bit`, (t) => {
    for (const [positions, vocab] of positionsAndVocab) {
      const whole = format.round(hills(3 + 2 * positions * vocab, vocab));
      const [bits, rounded] = [whole.bits.subarray(3), whole.rounded.subarray(3)];
      const options = { positions, vocab };
      t.deepEqual(coupling(bits, { ...options, type }), coupling(rounded, options), `${positions} × ${vocab}`);
    }
  });

  test(`every finite ${type} is widened right`, (t) => {
    const finite = [...Array(2 ** 16).keys()].filter((bits) => Number.isFinite(format.valueOf(bits)));
    t.is(finite.length, 2 ** 16 - (type === 'float16' ? 2 ** 11 : 2 ** 8));
    const { rowMax } = coupling(Uint16Array.from(finite), { positions: 1, vocab: 1, type });
    const wrong = finite.filter((bits, i) => !Object.is(rowMax[i]?.[0], Math.fround(format.valueOf(bits))));
    t.deepEqual(wrong, []);
    const reordered = finite.filter((bits) => format.bitsOf(format.valueOf(bits)) !== bits);
    t.deepEqual(reordered, [], 'and rounded to itself');
  });

  test(`every ${type} that is not finite is an error, but −inf beside a finite one`, (t) => {
    const bits = [...Array(2 ** 16).keys()].filter((pattern) => !Number.isFinite(format.valueOf(pattern)));
    for (const pattern of bits) {
      const isSuppressed = format.valueOf(pattern) === -Infinity;
      const code = isSuppressed ? 'NOTHING_LEFT' : 'INVALID_LOGITS';
      t.throws(() => coupling(Uint16Array.of(pattern), { positions: 1, vocab: 1, type }), { code });
      const pair = Uint16Array.of(pattern, format.bitsOf(2));
      const uniform = Float64Array.of(0);
      const drawn = (): Int32Array => draw(pair, { vocab: 2, type, u: uniform, uInside: uniform });
      if (isSuppressed) t.deepEqual(drawn(), Int32Array.of(1));
      else t.throws(drawn, { code });
    }
  });

  test(`${type}: draws are those of the same logits in float32`, (t) => {
    const proposals = [{}, { temperature: 0 }, { temperature: 0.4 }, { topK: 5 }, { temperature: 2, topP: 0.7 }];
    for (const vocab of [3, 257, 1025, 2049, 50257]) {
      const rows = Math.min(60, Math.ceil(3e5 / vocab));
      const whole = format.round(hills(1 + rows * vocab, vocab).map((z, c) => (c % 11 === 5 ? -Infinity : z)));
      const [bits, rounded] = [whole.bits.subarray(1), whole.rounded.subarray(1)];
      const options = { vocab, u: stratified(rows), uInside: stratified(rows).map((u) => (u * 7) % 1) };
      for (const proposal of proposals) {
        const tokens = draw(rounded, { ...options, ...proposal });
        t.deepEqual(draw(bits, { ...options, ...proposal, type }), tokens, `${vocab}, ${JSON.stringify(proposal)}`);
      }
    }
  });

  test(`${type}: the logits are left as they were`, (t) => {
    const { bits } = format.round(normals(3 * 1100, 5));
    const before = bits.slice();
    coupling(bits, { positions: 3, vocab: 1100, type });
    draw(bits, { vocab: 1100, type, topK: 9, u: stratified(3), uInside: stratified(3) });
    t.deepEqual(bits, before);
  });
}

const bits = new Uint16Array(6);
const uniforms = { u: Float64Array.of(0.1, 0.2), uInside: Float64Array.of(0.3, 0.9) };
const invalid: [what: string, logits: unknown, type: unknown][] = [
  ['bits without a type', bits, undefined],
  ['bits as float32', bits, 'float32'],
  ['float32 as float16', new Float32Array(6), 'float16'],
  ['float32 as bfloat16', new Float32Array(6), 'bfloat16'],
  ['signed bits', new Int16Array(6), 'float16'],
  ['bits in a list', [0, 0, 0, 0, 0, 0], 'float16'],
  ['no logits', undefined, 'float16'],
  ['float64', bits, 'float64'],
  ['a number for a type', bits, 1],
  ['null for a type', bits, null],
];
for (const [what, logits, type] of invalid) {
  test(`${what}: INVALID_OPTION`, (t) => {
    const expected = { instanceOf: FkinvError, code: 'INVALID_OPTION' };
    const options = type === undefined ? {} : { type };
    t.throws(
      () => coupling(logits as Uint16Array, { positions: 2, vocab: 3, ...options } as CouplingOptions),
      expected,
    );
    t.throws(() => draw(logits as Uint16Array, { vocab: 3, ...uniforms, ...options } as DrawOptions), expected);
  });
}
