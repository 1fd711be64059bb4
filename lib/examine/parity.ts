import { z } from 'zod';
import type { Clip } from '../models/clip';
import type { Dllm } from '../models/dllm';
import { FkinvError, messageOf } from '../errors';
import { tokenId } from '../models/manifest';
import type { ModelFolder } from '../models/model-folder';
import type { NativeDllmGraph, NativeInput } from '../native/addon';

// Parity: a graph is run on inputs whose outputs the model gave before it was exported. docs/manifest.md has the format.

/** What came of one case. */
export interface ParityResult {
  /** Positions of the row, or tokens of the text. */
  length: number;
  /** The largest absolute difference; null where the graph could not be run, or gave NaN. */
  difference: number | null;
  /** The largest that is allowed. */
  tolerance: number;
  /** ONNX Runtime's message where the graph could not be run. */
  error?: string;
}

const tolerance = z.number().positive('must be above 0').optional();
const numbers = z.array(z.number()).min(1, 'must not be empty');

const dllmCases = z
  .array(
    z.strictObject({
      input_ids: z.array(tokenId).min(1, 'must not be empty'),
      image_embeds: numbers.optional(),
      rows: z.array(z.int().min(0)).min(1, 'must not be empty').optional(),
      argmax: z.array(tokenId),
      row0: numbers,
      lastRow: numbers,
      tolerance,
    }),
  )
  .min(1, 'must not be empty');
type DllmCase = z.output<typeof dllmCases>[number];

const direction = numbers.refine((values) => values.some((value) => value !== 0), 'must not be 0 everywhere');
const clipCases = z
  .array(z.strictObject({ text: z.string(), text_embeds: direction, tolerance }))
  .min(1, 'must not be empty');
type ClipCase = z.output<typeof clipCases>[number];

type LogitsType = 'float32' | 'float16' | 'bfloat16';

/** What is allowed, by the type of the logits: rounded to 16 bits, those around 30 are off by up to 0.008 and 0.06. */
const defaultTolerance = { float32: 0.002, float16: 0.05, bfloat16: 0.5 } as const;

/**
 * Runs the cases of the file `name` through a dLLM's graph, which may take an embedding of `clip`'s size. Throws
 * `MODEL_NOT_FOUND` or `MODEL_INVALID` for the file.
 */
export async function dllmParity(folder: ModelFolder, name: string, dllm: Dllm, clip: Clip): Promise<ParityResult[]> {
  const cases = await folder.json(name, dllmCases);
  const run = new DllmRun(folder.file(name), dllm, clip.embedSize);
  const lengths = cases.map(({ input_ids }) => input_ids.length);
  if (dllm.fixedLength === undefined) expectTwoLengths(folder.file(name), lengths);
  for (const [i, one] of cases.entries()) run.check(one, i);
  return each(cases, lengths, defaultTolerance[run.type], (one) => run.differenceOf(one));
}

/** Runs the cases of the file `name` through CLIP's tokenizer and text graph. Throws as {@link dllmParity} does. */
export async function clipParity(folder: ModelFolder, name: string, clip: Clip): Promise<ParityResult[]> {
  const cases = await folder.json(name, clipCases);
  const lengths = clip.tokenIds(cases.map(({ text }) => text)).map((ids) => ids.length);
  if (!clip.padsTexts) expectTwoLengths(folder.file(name), lengths);
  for (const [i, { text_embeds }] of cases.entries()) {
    if (text_embeds.length === clip.embedSize) continue;
    fail(folder.file(name), `${i}.text_embeds: has ${text_embeds.length} numbers, an embedding ${clip.embedSize}`);
  }
  return each(cases, lengths, defaultTolerance.float32, (one) => textDifference(clip, one));
}

function fail(file: string, what: string): never {
  throw new FkinvError('MODEL_INVALID', `${file}: ${what}`);
}

function expectTwoLengths(file: string, lengths: number[]): void {
  const [first = 0] = lengths;
  if (lengths.some((length) => length !== first)) return;
  fail(
    file,
    `all cases have the length ${first}: an export can hold at the one it was traced at and at no other, add one`,
  );
}

async function each<T extends { tolerance?: number | undefined }>(
  cases: T[],
  lengths: number[],
  byDefault: number,
  differenceOf: (one: T) => Promise<number>,
): Promise<ParityResult[]> {
  const results: ParityResult[] = [];
  for (const [i, one] of cases.entries()) {
    const common = { length: lengths[i] ?? 0, tolerance: one.tolerance ?? byDefault };
    try {
      const difference = await differenceOf(one);
      results.push({ ...common, difference: Number.isFinite(difference) ? difference : null });
    } catch (error) {
      results.push({ ...common, difference: null, error: messageOf(error) });
    }
  }
  return results;
}

/** Whether what came of a case is within its tolerance. */
export function holds({ difference, tolerance }: ParityResult): boolean {
  return difference !== null && difference <= tolerance;
}

class DllmRun {
  readonly type: LogitsType;
  readonly #graph: NativeDllmGraph;

  constructor(
    private readonly file: string,
    private readonly dllm: Dllm,
    private readonly embedSize: number,
  ) {
    this.#graph = dllm.graph();
    const logits = dllm.model.session.outputs.find(({ name }) => name === this.#graph.logits);
    this.type = logits?.type as LogitsType; // checkGraph() held it to these
  }

  /** Throws `MODEL_INVALID` unless case `i` is of this model's sizes. */
  check({ input_ids, image_embeds, rows = all(input_ids), argmax, ...expected }: DllmCase, i: number): void {
    const { vocab } = this.dllm;
    const { condition } = this.#graph;
    const outside = rows.find((row) => row >= input_ids.length);
    if (outside !== undefined) fail(this.file, `${i}.rows: has ${outside}, of the ${input_ids.length} of input_ids`);
    if (argmax.length !== rows.length) {
      fail(this.file, `${i}.argmax: has ${argmax.length} ids, ${rows.length} rows are asked for`);
    }
    for (const name of ['row0', 'lastRow'] as const) {
      const { length } = expected[name];
      if (length > vocab) fail(this.file, `${i}.${name}: has ${length} numbers, a row ${vocab} columns`);
    }
    const highest = largest([...input_ids, ...argmax]);
    if (highest >= vocab) fail(this.file, `${i}: has the id ${highest}, and there are ${vocab}`);
    if (condition === '' && image_embeds !== undefined) {
      fail(this.file, `${i}.image_embeds: the graph takes no image`);
    }
    const size = this.#conditionShape.reduce((product, extent) => product * extent, 1);
    if (condition !== '' && image_embeds?.length !== size) {
      fail(this.file, `${i}.image_embeds: must be the ${size} numbers of "${condition}"`);
    }
  }

  get #conditionShape(): number[] {
    const { conditionShape } = this.#graph;
    return conditionShape.length > 0 ? Array.from(conditionShape, Number) : [this.embedSize];
  }

  /** The largest difference of the logits in the first and the last row from those expected, and of those at `argmax` from their rows' largest. */
  async differenceOf({ input_ids, image_embeds = [], rows, argmax, row0, lastRow }: DllmCase): Promise<number> {
    const { vocab } = this.dllm;
    const asked = rows ?? all(input_ids);
    const logits = await this.#logitsOf(input_ids, image_embeds, asked);
    const rowAt = (at: number): Float32Array => logits.subarray(at * vocab, (at + 1) * vocab);
    const row = (i: number): Float32Array => rowAt(this.#graph.rows === '' ? (asked[i] ?? NaN) : i);
    const ofArgmax = argmax.map((id, i) => largest(row(i)) - (row(i)[id] ?? NaN));
    return largest([...differences(row(0), row0), ...differences(row(asked.length - 1), lastRow), ...ofArgmax]);
  }

  async #logitsOf(ids: number[], embeds: number[], asked: number[]): Promise<Float32Array> {
    const { session, logits, rows } = this.#graph;
    const inputs = this.#inputsOf(ids, embeds, asked);
    const rowShape = [rows === '' ? ids.length : asked.length, this.dllm.vocab];
    if (this.type !== 'float32') return session.run(1, inputs, logits, rowShape, this.type);
    return (await session.run(1, inputs, logits, rowShape)).read();
  }

  #inputsOf(row: number[], embeds: number[], asked: number[]): NativeInput[] {
    const { ids, condition } = this.#graph;
    const inputs = this.dllm.constantInputs(row.length, asked);
    inputs.push({ name: ids, data: BigInt64Array.from(row, BigInt), rowShape: [row.length] });
    if (condition === '') return inputs;
    return [...inputs, { name: condition, data: Float32Array.from(embeds), rowShape: this.#conditionShape }];
  }
}

/** Every row of a case. */
function all(ids: number[]): number[] {
  return ids.map((_, i) => i);
}

/** The largest difference of the embeddings' coordinates, both at unit length: only their direction counts. */
async function textDifference(clip: Clip, { text, text_embeds }: ClipCase): Promise<number> {
  const found = unit(await (await clip.encodeText(text)).read());
  return largest(differences(found, unit(text_embeds)));
}

/** Absolute, of those expected. */
function differences(found: ArrayLike<number>, expected: number[]): number[] {
  return expected.map((value, i) => Math.abs((found[i] ?? NaN) - value));
}

/** NaN where one is. */
function largest(values: number[] | Float32Array): number {
  return (values as number[]).reduce((a, b) => Math.max(a, b), -Infinity);
}

function unit(vector: ArrayLike<number>): number[] {
  const values = Array.from(vector);
  const norm = Math.hypot(...values);
  return values.map((value) => value / norm);
}
