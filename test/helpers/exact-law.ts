// The law of x_0 on a dLLM so small that every path can be enumerated: what the sampler must give without steering, and,
// weighted by exp(λ·r), with it. Written from docs/algorithm.md alone: it shares nothing with lib/ and cpp/.
import { at, sum } from './kernels/golden';
import type { Tabular } from '../onnx/models';

/** What decides the law of x_0. */
export interface Process {
  order: 'random' | 'confidence' | 'entropy' | 'margin';
  steps: number;
  /** N for one block. */
  blockLength: number;
  minLength: number;
  temperature: number;
  /** Infinity keeps all tokens. */
  topK: number;
  /** 1 keeps all tokens. */
  topP: number;
}

/** One position's softmax: by token, under the model and under what tokens are drawn from; both 0 where suppressed. */
interface Row {
  model: number[];
  proposal: number[];
}

/** How much a drawn token counts; `opened` is false for a draw that is discarded. */
export type Measure = (row: Row, token: number, opened: boolean) => number;

/** The target: importance weights turn the proposal into the model, on the tokens that can be proposed. */
export const corrected: Measure = (row, token) => (at(row.proposal, token) > 0 ? at(row.model, token) : 0);
/** What a sampler without importance weights would target. */
export const uncorrected: Measure = (row, token) => at(row.proposal, token);
/** What it would target if importance weights left out the discarded draws. */
export const correctedWhereOpened: Measure = (row, token, opened) =>
  (opened ? corrected : uncorrected)(row, token, true);

/** The tokens of each state with a mass; what has none is left out. Keyed by {@link keyOf}. */
export type Law = Map<string, number>;

export const keyOf = (tokens: number[]): string => tokens.join(' ');
export const tokensOf = (key: string): number[] => key.split(' ').map(Number);

function softmax(logits: number[]): number[] {
  const weights = logits.map((z) => Math.exp(z));
  const total = sum(weights);
  return weights.map((weight) => weight / total);
}

/** `masses` less what top-k, then top-p leave out, normalised. Equal masses are kept or left out together. */
function truncated(masses: number[], topK: number, topP: number): number[] {
  const normalised = (kept: number[]): number[] => kept.map((mass) => mass / sum(kept));
  const descending = [...masses].sort((a, b) => b - a);
  const kth = at(descending, Math.min(topK, masses.length) - 1);
  const first = normalised(masses.map((mass) => (mass >= kth ? mass : 0)));
  const reached = [...first].sort((a, b) => b - a);
  const last = reached.findIndex((_, i) => sum(reached.slice(0, i + 1)) >= topP);
  return normalised(first.map((mass) => (mass >= at(reached, last === -1 ? reached.length - 1 : last) ? mass : 0)));
}

/** The rows of a state. */
function rowsOf({ tokens, length, mask, eos, table }: Tabular, process: Process, state: number[]): Row[] {
  const vocab = tokens.length;
  const index = state.reduce((number, token) => number * vocab + token, 0);
  return state.map((_, n) => {
    const start = (index * length + n) * vocab;
    const logits = Array.from(table.subarray(start, start + vocab), (z, token) =>
      token === mask || (token === eos && n < process.minLength) ? -Infinity : z,
    );
    const tempered = softmax(logits.map((z) => z / process.temperature));
    return { model: softmax(logits), proposal: truncated(tempered, process.topK, process.topP) };
  });
}

/** What opens at a step. */
interface Block {
  first: number;
  end: number;
  /** Of a masked position under `random`. */
  chance: number;
  /** Of positions under the other orders. */
  count: number;
}

function blockAt({ steps, blockLength }: Process, length: number, index: number): Block {
  const each = steps / Math.ceil(length / blockLength);
  const first = Math.floor(index / each) * blockLength;
  const end = Math.min(length, first + blockLength);
  const done = index % each;
  const masked = end - first; // before the block's first step
  return { first, end, chance: 1 / (each - done), count: Math.floor(masked / each) + (done < masked % each ? 1 : 0) };
}

/** All ways to draw a token at each of `positions`. */
function* draws(positions: number[], vocab: number): Generator<number[]> {
  if (positions.length === 0) yield [];
  for (let token = 0; positions.length > 0 && token < vocab; token++) {
    for (const others of draws(positions.slice(1), vocab)) yield [token, ...others];
  }
}

function* subsets(positions: number[]): Generator<number[]> {
  for (let bits = 0; bits < 2 ** positions.length; bits++) yield positions.filter((_, i) => (bits >> i) & 1);
}

/** The `count` of highest score, ties to the earlier. */
function best(positions: number[], scores: number[], count: number): number[] {
  const ranked = positions.map((n, i) => ({ n, score: at(scores, i) })).sort((a, b) => b.score - a.score || a.n - b.n);
  return ranked.slice(0, count).map(({ n }) => n);
}

const negativeEntropy = ({ model }: Row): number => sum(model.map((p) => (p > 0 ? p * Math.log(p) : 0)));
const margin = ({ model }: Row): number => {
  const [first = 0, second = 0] = [...model].sort((a, b) => b - a);
  return first - second;
};

/** One way a step can go: tokens drawn at positions, which of these open, and its probability aside from the tokens'. */
interface Choice {
  drawn: number[];
  tokens: number[];
  opened: number[];
  probability: number;
}

function* byChance(masked: number[], vocab: number, { chance }: Block): Generator<Choice> {
  for (const opened of subsets(masked)) {
    const probability = chance ** opened.length * (1 - chance) ** (masked.length - opened.length);
    for (const tokens of draws(opened, vocab)) yield { drawn: opened, tokens, opened, probability };
  }
}

function* byConfidence(rows: Row[], masked: number[], vocab: number, { count }: Block): Generator<Choice> {
  for (const tokens of draws(masked, vocab)) {
    const scores = masked.map((n, i) => at(at(rows, n).model, at(tokens, i)));
    yield { drawn: masked, tokens, opened: best(masked, scores, count), probability: 1 };
  }
}

function* byRow(scores: number[], masked: number[], vocab: number, { count }: Block): Generator<Choice> {
  const opened = best(masked, scores, count);
  for (const tokens of draws(opened, vocab)) yield { drawn: opened, tokens, opened, probability: 1 };
}

function choices(order: Process['order'], rows: Row[], masked: number[], vocab: number, block: Block) {
  if (order === 'random') return byChance(masked, vocab, block);
  if (order === 'confidence') return byConfidence(rows, masked, vocab, block);
  const score = order === 'entropy' ? negativeEntropy : margin;
  const scores = masked.map((n) => score(at(rows, n)));
  return byRow(scores, masked, vocab, block);
}

/** Mass of every state that `state` can become at `step`. */
function step(model: Tabular, process: Process, measure: Measure, state: number[], index: number): Law {
  const rows = rowsOf(model, process, state);
  const block = blockAt(process, model.length, index);
  const masked = [...state.keys()].filter((n) => n >= block.first && n < block.end && state[n] === model.mask);
  const vocab = model.tokens.length;
  const next: Law = new Map();
  for (const { drawn, tokens, opened, probability } of choices(process.order, rows, masked, vocab, block)) {
    const mass = drawn.reduce(
      (product, n, i) => product * measure(at(rows, n), at(tokens, i), opened.includes(n)),
      probability,
    );
    if (mass === 0) continue;
    const key = keyOf(state.map((token, n) => (opened.includes(n) ? at(tokens, drawn.indexOf(n)) : token)));
    next.set(key, (next.get(key) ?? 0) + mass);
  }
  return next;
}

/** The unsteered measure of x_0; under {@link corrected} and without truncation its masses sum to 1. */
export function unsteered(model: Tabular, process: Process, measure: Measure = corrected): Law {
  let law: Law = new Map([[keyOf(Array<number>(model.length).fill(model.mask)), 1]]);
  for (let index = 0; index < process.steps; index++) {
    const next: Law = new Map();
    for (const [state, mass] of law) {
      for (const [key, share] of step(model, process, measure, tokensOf(state), index)) {
        next.set(key, (next.get(key) ?? 0) + mass * share);
      }
    }
    law = next;
  }
  return law;
}

/** r_edit of x_0: of the model's rows at x_0 itself, over the positions before its first stop. */
export function rewardEdit(model: Tabular, process: Process, tokens: number[]): number {
  const rows = rowsOf(model, process, tokens);
  const end = tokens.indexOf(model.eos);
  const counted = [...tokens.keys()].filter((n) => end === -1 || n < end);
  const couplings = counted.flatMap((i) =>
    counted
      .filter((j) => j !== i)
      .map((j) => sum(at(rows, i).model.map((p, token) => p * at(at(rows, j).model, token)))),
  );
  if (couplings.length === 0) return 1;
  const mean = sum(couplings) / couplings.length;
  const variance = sum(couplings.map((s) => (s - mean) ** 2)) / couplings.length;
  return 1 - (mean + Math.sqrt(variance));
}

/** `law` · exp(`total`), not normalised. */
export function steered(law: Law, total: (tokens: number[]) => number): Law {
  return new Map([...law].map(([key, mass]) => [key, mass * Math.exp(total(tokensOf(key)))]));
}

export function normalised(law: Law): Law {
  const total = sum(law.values());
  return new Map([...law].map(([key, mass]) => [key, mass / total]));
}

/** Half the sum of the differences. */
export function totalVariation(a: Law, b: Law): number {
  const keys = new Set([...a.keys(), ...b.keys()]);
  return sum([...keys].map((key) => Math.abs((a.get(key) ?? 0) - (b.get(key) ?? 0)))) / 2;
}
