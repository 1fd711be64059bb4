import test from 'ava';
import { FkinvError } from 'fkinv-native';
import { philox } from 'fkinv-native/kernels';
import { at, golden } from '../helpers/kernels/golden';

interface Block {
  counter: string[];
  key: string[];
  output: string[];
  u: number;
  uInside: number;
}
const blocks = golden('philox4x32-10.json') as Block[];
const words = (hex: string[]): number[] => hex.map((word) => parseInt(word, 16));

/** ((low | high·2^32) ≫ 11)·2^-53 */
function uniform(low: number, high: number): number {
  return Number(((BigInt(high) << 32n) | BigInt(low)) >> 11n) * 2 ** -53;
}

for (const { counter, key, output, u, uInside } of blocks) {
  const title = `counter ${counter.join(' ')}, key ${key.join(' ')}`;
  test(`philox of ${title}`, (t) => {
    t.deepEqual([...philox(words(counter), words(key))], words(output));
  });

  test(`the two uniforms of ${title}`, (t) => {
    const out = philox(words(counter), words(key));
    t.is(uniform(at(out, 0), at(out, 1)), u);
    t.is(uniform(at(out, 2), at(out, 3)), uInside);
  });
}

test('philox takes typed arrays, and leaves them as they were', (t) => {
  const counter = Uint32Array.of(3, 2, 5, 2 ** 24);
  const key = Uint32Array.of(42, 0);
  t.deepEqual(philox(counter, key), philox([3, 2, 5, 2 ** 24], [42, 0]));
  t.deepEqual([...counter, ...key], [3, 2, 5, 2 ** 24, 42, 0]);
});

test('every word of counter and key changes all four words of the output', (t) => {
  const zero = philox([0, 0, 0, 0], [0, 0]);
  for (let word = 0; word < 6; word++) {
    for (const value of [1, 2 ** 31]) {
      const input = [0, 0, 0, 0, 0, 0].with(word, value);
      const out = philox(input.slice(0, 4), input.slice(4));
      t.true(
        out.every((x, i) => x !== zero[i]),
        `word ${word} of ${value}`,
      );
    }
  }
});

for (const [counter, key] of [
  [3, 2],
  [5, 2],
  [0, 2],
  [4, 1],
  [4, 3],
  [4, 0],
] as const) {
  test(`a counter of ${counter} words with a key of ${key} gives INVALID_OPTION`, (t) => {
    const error = { instanceOf: FkinvError, code: 'INVALID_OPTION' };
    t.throws(() => philox(new Array<number>(counter).fill(1), new Array<number>(key).fill(1)), error);
    t.throws(() => philox(new Uint32Array(counter), new Uint32Array(key)), error);
  });
}

for (const word of [1.5, -1, NaN, 2 ** 32]) {
  test(`a word of ${word} gives INVALID_OPTION`, (t) => {
    const error = { instanceOf: FkinvError, code: 'INVALID_OPTION' };
    t.throws(() => philox([word, 0, 0, 0], [0, 0]), error);
    t.throws(() => philox([0, 0, 0, 0], [0, word]), error);
  });
}
