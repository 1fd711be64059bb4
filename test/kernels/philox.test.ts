import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { philox } from 'fkinv-native/kernels';

interface Block {
  counter: string[];
  key: string[];
  output: string[];
}
const file = path.join(__dirname, '..', 'fixtures', 'golden', 'philox4x32-10.json');
const blocks = JSON.parse(readFileSync(file, 'utf8')) as Block[];
const words = (hex: string[]): number[] => hex.map((word) => parseInt(word, 16));

for (const { counter, key, output } of blocks) {
  test(`philox of counter ${counter.join(' ')}, key ${key.join(' ')}`, (t) => {
    t.deepEqual([...philox(words(counter), words(key))], words(output));
  });
}
