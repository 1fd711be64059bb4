// Copies of the models in test/fixtures/models with something altered, and what an Inverter of them must do. What the models
// are is told in test/fixtures/make_models.py.
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  FkinvError,
  Inverter,
  type ErrorCode,
  type InvertOptions,
  type LoadOptions,
  type Particle,
  type RawImage,
} from 'fkinv-native';

export type Json = Record<string, unknown>;
/** What to alter in a copy of a model folder. */
export interface Change {
  /** Graphs of models/graphs in place of the folder's, by the folder's file name. */
  graphs?: Record<string, string>;
  /** Fields of JSON files to set; undefined removes one. */
  json?: Record<string, Json>;
  /** Contents of files; null removes one. */
  files?: Record<string, string | Uint8Array | null>;
}

interface Weights {
  words: string[];
  token: number[][];
  condition: number[][];
  text: number[][];
  image: number[][];
  bias: number[];
}

export const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
export const weights = JSON.parse(readFileSync(path.join(fixtures, 'weights.json'), 'utf8')) as Weights;
export const eos = 0;
export const mask = 1;
export const unk = 2;
export const firstWord = 3; // in the dLLM's tokenizer; CLIP's has <pad>, <bos>, <eos>, <unk> before the words
export const vocab = firstWord + weights.words.length;
export const short = { particles: 4, steps: 3, length: 6 };

export let root: string;
let count = 0;

/** Declares the hooks that the tests need. */
export function setUp(): void {
  test.before(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'fkinv models ü-'));
  });
  test.after.always(() => rm(root, { recursive: true }));
}

export function image(red = 200, green = 120, blue = 40): RawImage {
  const data = Uint8Array.from({ length: 10 * 5 * 3 }, (_, i) => [red, green, blue][i % 3] ?? 0);
  return { data, width: 10, height: 5, channels: 3 };
}

export async function folder(
  kind: 'dllm' | 'clip',
  { graphs = {}, json = {}, files = {} }: Change = {},
): Promise<string> {
  const at = path.join(root, `${kind} ${++count}`);
  await cp(path.join(fixtures, kind), at, { recursive: true });
  for (const [name, graph] of Object.entries(graphs)) {
    await cp(path.join(fixtures, 'graphs', `${graph}.onnx`), path.join(at, name));
  }
  for (const [name, fields] of Object.entries(json)) {
    const file = path.join(at, name);
    const whole = JSON.parse(await readFile(file, 'utf8')) as Json;
    await writeFile(file, JSON.stringify({ ...whole, ...fields }));
  }
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(at, name);
    if (content === null) await rm(file);
    else await writeFile(file, content);
  }
  return at;
}

/** A dLLM that takes no image condition: the graph dllm_`name`, or plain. */
export function unconditional(name = 'plain', config: Json = {}): Change {
  return {
    graphs: { 'model.onnx': `dllm_${name}` },
    json: { 'config.json': { condition: undefined, ...config } },
  };
}

export async function open(t: ExecutionContext, dllm: Change = {}, clip: Change = {}): Promise<Inverter> {
  const inverter = await Inverter.load({ dllm: await folder('dllm', dllm), clip: await folder('clip', clip) });
  t.teardown(() => inverter.dispose());
  return inverter;
}

export async function fails(t: ExecutionContext, call: Promise<unknown>, code: ErrorCode, ...named: string[]) {
  const error = await t.throwsAsync(call, { instanceOf: FkinvError, code });
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
  return error;
}

export async function works(t: ExecutionContext): Promise<void> {
  const inverter = await open(t);
  t.is((await inverter.invert(image(), short)).tokens.length, 6);
}

export async function refusesToLoad(t: ExecutionContext, options: LoadOptions, code: ErrorCode, ...named: string[]) {
  await fails(t, Inverter.load(options), code, ...named);
  await works(t);
}

/** The Inverter loads, but `options` fail with `code` each time. */
export async function refusesToInvert(
  t: ExecutionContext,
  inverter: Inverter,
  code: ErrorCode,
  named: string[],
  options: InvertOptions = {},
): Promise<void> {
  await fails(t, inverter.invert(image(), { ...short, ...options }), code, ...named);
  await fails(t, inverter.invert(image(), { ...short, ...options }), code, ...named);
  await fails(t, inverter.invert('/no/such/image', short), 'IMAGE_NOT_FOUND'); // it still listens
}

export function bySlot(particles: Particle[]): Particle[] {
  return [...particles].sort((a, b) => a.slot - b.slot);
}

export function tokenizerWith(change: (vocab: Record<string, number>) => void): Record<string, Json> {
  const whole = JSON.parse(readFileSync(path.join(fixtures, 'dllm', 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number> };
  };
  change(whole.model.vocab);
  return { 'tokenizer.json': whole };
}
