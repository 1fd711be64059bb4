import { lemmasOf, type HintWord } from './words';

/** No two hints are more alike than this, by the cosine of their embeddings. */
const mostAlike = 0.9;

/** A list of words, with what CLIP makes of each. */
export class EmbeddedWords {
  /** [E] the mean of the embeddings. */
  readonly mean: Float32Array;
  /** [words] how far each is from the mean; 1 for one that is the mean. */
  readonly distances: Float32Array;

  constructor(
    readonly words: readonly HintWord[],
    /** [words, E], each of unit length. */
    readonly embeddings: Float32Array,
  ) {
    const E = embeddings.length / words.length;
    this.mean = new Float32Array(E);
    for (let i = 0; i < embeddings.length; i++)
      this.mean[i % E] = (this.mean[i % E] ?? 0) + (embeddings[i] ?? 0) / words.length;
    const { mean } = this;
    const squared = dot(mean, mean);
    this.distances = products(embeddings, mean).map(
      (product) => Math.sqrt(Math.max(0, 1 - 2 * product + squared)) || 1,
    );
  }
}

/**
 * The `most` words that are nearest to `picture`, an embedding [E] of any length, best first. How near one is, is the cosine once the mean
 * of all words is taken off, without which words of no content, such as those that any picture may be told by, come before others. Of words with a lemma in common, or that
 * are almost the same to CLIP, only the best is taken, and of each kind at most half, so that there is more than nouns; where the list
 * runs out, there are fewer.
 */
export function hintsFor(picture: Float32Array, list: EmbeddedWords, most: number): string[] {
  const { words, embeddings, mean, distances } = list;
  const E = picture.length;
  const common = dot(mean, picture);
  const scores = products(embeddings, picture).map((product, i) => (product - common) / (distances[i] ?? 1));
  const isOfKinds = new Set(words.map(({ kind }) => kind)).size > 1;
  const left = new Map<string, number>(); // by kind
  const ofKind = isOfKinds ? Math.ceil(most / 2) : most;
  const told = new Set<string>();
  const taken: number[] = [];
  const rowOf = (word: number): Float32Array => embeddings.subarray(word * E, (word + 1) * E);
  for (let word = best(scores); word !== -1 && taken.length < most; word = best(scores)) {
    scores[word] = -Infinity;
    const { text = '', kind = '' } = words[word] ?? {};
    const room = left.get(kind) ?? ofKind;
    const lemmas = lemmasOf(text);
    if (room === 0 || [...lemmas].some((lemma) => told.has(lemma))) continue;
    if (taken.some((other) => dot(rowOf(word), rowOf(other)) > mostAlike)) continue;
    left.set(kind, room - 1);
    for (const lemma of lemmas) told.add(lemma);
    taken.push(word);
  }
  return taken.map((word) => words[word]?.text ?? '');
}

/** The index of the largest of `scores`, the first of equal ones; −1 where none is left. */
function best(scores: Float32Array): number {
  let at = -1;
  let largest = -Infinity;
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] ?? -Infinity;
    if (score > largest) {
      largest = score;
      at = i;
    }
  }
  return at;
}

/** The product of each row of `rows` [n, E] with `vector` [E]. */
function products(rows: Float32Array, vector: Float32Array): Float32Array {
  const E = vector.length;
  return Float32Array.from({ length: rows.length / E }, (_, i) => dot(rows.subarray(i * E, (i + 1) * E), vector));
}

// Four sums, since each addition waits for the one before it.
function dot(a: Float32Array, b: Float32Array): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const whole = a.length - (a.length % 4);
  for (let i = 0; i < whole; i += 4) {
    s0 += (a[i] ?? 0) * (b[i] ?? 0);
    s1 += (a[i + 1] ?? 0) * (b[i + 1] ?? 0);
    s2 += (a[i + 2] ?? 0) * (b[i + 2] ?? 0);
    s3 += (a[i + 3] ?? 0) * (b[i + 3] ?? 0);
  }
  for (let i = whole; i < a.length; i++) s0 += (a[i] ?? 0) * (b[i] ?? 0);
  return s0 + s1 + (s2 + s3);
}
