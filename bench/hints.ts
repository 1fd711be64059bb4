// npm run bench:hints
// How long it takes to rank a list of words against a picture (bench/README.md).
import { EmbeddedWords, hintsFor } from '../lib/hints/ranking';
import { readWords } from '../lib/hints/words';
import { machine } from './machine';
import { writeSection } from './section';

const repetitions = 100;

async function main(): Promise<void> {
  const about = machine();
  const words = await readWords();
  const lines = [512, 768, 1024].map((size) => {
    const list = new EmbeddedWords(words, directions(words.length, size));
    const pictures = directions(repetitions, size);
    const ranking = timed((i) => hintsFor(pictures.subarray(i * size, (i + 1) * size), list, 5));
    const reading = timed(() => sumOf(list.embeddings));
    return `| ${words.length} × ${size} | ${ranking.toFixed(1)} ms | ${(ranking / reading).toFixed(1)} |`;
  });
  const facts = Object.entries(about).map(([name, value]) => `${name}: ${value}`);
  const table = [
    '| words × E | five hints of a picture | of one loop that adds up the table |',
    '| --- | --- | --- |',
    ...lines,
  ];
  await writeSection('hints', [facts.join(' · '), '', ...table].join('\n'));
}

/** Milliseconds of `work`, the median of many calls. */
function timed(work: (i: number) => unknown): number {
  const times = Array.from({ length: repetitions }, (_, i) => {
    const start = performance.now();
    work(i);
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[repetitions / 2] ?? NaN;
}

/** Vectors [count, size] of unit length and of any direction. */
function directions(count: number, size: number): Float32Array {
  const all = Float32Array.from({ length: count * size }, () => Math.random() - 0.5);
  for (let i = 0; i < count; i++) {
    const row = all.subarray(i * size, (i + 1) * size);
    const length = Math.hypot(...row);
    row.forEach((x, e) => (row[e] = x / length));
  }
  return all;
}

function sumOf(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

void main();
