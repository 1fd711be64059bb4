// What right models give, by computations of their own.
import test, { type ExecutionContext } from 'ava';
import {
  bySlot,
  eos,
  firstWord,
  image,
  mask,
  open,
  setUp,
  unconditional,
  unk,
  vocab,
  weights,
} from '../helpers/altered-models';

setUp();

/** x [n] · matrix [n, m] */
function times(x: number[], matrix: number[][]): number[] {
  const columns = matrix[0] ?? [];
  return columns.map((_, j) => x.reduce((sum, value, i) => sum + value * (matrix[i]?.[j] ?? NaN), 0));
}

function imageEmbedding(colour: number[]): number[] {
  const mean = colour.map((value) => (value / 255 - 0.5) / 0.5);
  return times(mean, weights.image).map((value, i) => value + (weights.bias[i] ?? NaN));
}

/** Of the first `limit` CLIP ids of a prompt, the end token in the last place. */
function textEmbedding(prompt: string, limit = Infinity): number[] {
  const words = prompt.split(' ').filter((word) => word !== '');
  const ids = [1, ...words.map((word) => 4 + weights.words.indexOf(word))].slice(0, limit - 1);
  const rows = [...ids, 2].map((id) => weights.text[id] ?? []);
  return [0, 1, 2, 3].map((j) => rows.reduce((sum, row) => sum + (row[j] ?? NaN), 0));
}

function cosine(a: number[], b: number[]): number {
  const dot = (x: number[], y: number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? NaN), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function near(t: ExecutionContext, actual: number, wanted: number, tolerance = 1e-6): void {
  t.true(Math.abs(actual - wanted) <= tolerance, `${actual} should be ${wanted}`);
}

const colours = [
  [200, 120, 40],
  [0, 0, 0],
  [255, 255, 255],
  [10, 250, 90],
];

test('rewardClip is the cosine, of embeddings that are not of unit length', async (t) => {
  const inverter = await open(t);
  for (const colour of colours) {
    const options = { particles: 16, steps: 3, length: 8, minLength: 1, lambdaClip: 0 };
    const { particles, prompt, rewardClip } = await inverter.invert(image(...colour), options);
    t.true(new Set(particles.map((one) => one.prompt.split(' ').length)).size > 1); // texts of several widths
    for (const particle of particles) {
      near(t, particle.rewardClip, cosine(imageEmbedding(colour), textEmbedding(particle.prompt)));
    }
    near(t, rewardClip, cosine(imageEmbedding(colour), textEmbedding(prompt)));
  }
});

test('the prompt is the words before the first stop', async (t) => {
  const inverter = await open(t);
  const { particles } = await inverter.invert(image(), { particles: 32, steps: 2, length: 8, minLength: 2 });
  t.true(particles.some(({ tokens }) => tokens.includes(eos)));
  for (const { tokens, prompt } of particles) {
    t.true(tokens.every((id) => id === eos || (id >= firstWord && id < vocab)));
    const end = tokens.indexOf(eos);
    t.true(end === -1 || end >= 2);
    const words = tokens.slice(0, end === -1 ? tokens.length : end).map((id) => weights.words[id - firstWord]);
    t.is(prompt, words.join(' '));
  }
});

test('a prompt longer than CLIP reads is cut before its end token, with a warning', async (t) => {
  for (const json of [
    { 'config.json': { text_config: { max_position_embeddings: 5 } } },
    { 'tokenizer_config.json': { model_max_length: 5 } },
  ]) {
    const inverter = await open(t, {}, { json });
    const options = { particles: 8, steps: 2, length: 8, minLength: 8 };
    const { particles, warnings } = await inverter.invert(image(), options);
    for (const particle of particles) {
      near(t, particle.rewardClip, cosine(imageEmbedding([200, 120, 40]), textEmbedding(particle.prompt, 5)));
    }
    t.is(warnings.length, 1);
    t.true(warnings[0]?.includes('5 tokens'));
    const fitting = await inverter.invert(image(), { ...options, length: 3, minLength: 3 });
    t.deepEqual(fitting.warnings, []);
  }
});

/** Σ log softmax of what a first forward gives for the tokens of one row, suppressed columns left out. */
function logProbability(tokens: number[], logits: number[], minLength: number): number {
  return tokens.reduce((sum, token, position) => {
    const allowed = logits.filter((_, id) => id !== mask && id !== unk && (id !== eos || position >= minLength));
    const mass = allowed.reduce((total, logit) => total + Math.exp(logit), 0);
    return sum + (logits[token] ?? NaN) - Math.log(mass);
  }, 0);
}

const maskRow = weights.token[mask] ?? [];

test('a dLLM without image condition draws from its own logits, whatever the image', async (t) => {
  const inverter = await open(t, unconditional());
  const options = { particles: 8, steps: 1, length: 7, minLength: 3, lambdaClip: 0, lambdaEdit: 0, seed: 11 };
  const results = await Promise.all(colours.map((colour) => inverter.invert(image(...colour), options)));
  for (const { particles } of results) {
    for (const { tokens, logProb } of particles) near(t, logProb, logProbability(tokens, maskRow, 3), 1e-5);
  }
  const rows = results.map(({ particles }) => bySlot(particles).map(({ tokens }) => tokens));
  for (const other of rows) t.deepEqual(other, rows[0]);
});

test('a dLLM with image condition gets CLIP’s embedding of the image', async (t) => {
  const inverter = await open(t);
  const options = { particles: 8, steps: 1, length: 7, minLength: 3, lambdaClip: 0, lambdaEdit: 0, seed: 11 };
  const rows = new Set<string>();
  for (const colour of colours) {
    const shift = times(imageEmbedding(colour), weights.condition);
    const logits = maskRow.map((logit, id) => logit + (shift[id] ?? NaN));
    const { particles } = await inverter.invert(image(...colour), options);
    for (const { tokens, logProb } of particles) near(t, logProb, logProbability(tokens, logits, 3), 1e-4);
    rows.add(JSON.stringify(bySlot(particles).map(({ tokens }) => tokens)));
  }
  t.is(rows.size, colours.length);
});

test('all particles share the first forward, and equal ones every other', async (t) => {
  const inverter = await open(t, unconditional('noisy'));
  const options = { particles: 6, steps: 2, length: 6, couplingOver: 'all' } as const;
  const { trace } = await inverter.invert(image(), options);
  const [first, second] = trace;
  t.is(new Set(first?.rewardEdit).size, 1); // r_edit over all positions depends on the forward alone
  t.true(new Set(second?.rewardEdit).size > 1);
});

test('one particle and many: the first forward is the same', async (t) => {
  const inverter = await open(t, unconditional());
  const options = { steps: 1, length: 6, couplingOver: 'all' } as const;
  const one = await inverter.invert(image(), { ...options, particles: 1 });
  const many = await inverter.invert(image(), { ...options, particles: 50 });
  t.deepEqual(new Set(many.trace[0]?.rewardEdit), new Set(one.trace[0]?.rewardEdit));
});
