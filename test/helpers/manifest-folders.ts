// Model folders with a manifest, of the models in test/fixtures/models. test/fixtures/make_models.py tells what the graphs are.
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FkinvError, type ErrorCode } from '../../lib/errors';
import { Inverter } from '../../lib/inverter';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { ModelFolder } from '../../lib/models/model-folder';
import type { NativeEngine } from '../../lib/native/addon';
import { cpuEngine } from './cpu-engine';

export type Json = Record<string, unknown>;
export interface Folder {
  /** The graph models/graphs/`graph`.onnx in place of the folder's own; it takes no image condition. */
  graph?: string;
  /** Files of models/ to add, by their names in the folder. */
  files?: Record<string, string>;
  /** Contents of fkinv.json; none where it is undefined. */
  manifest?: unknown;
  /** Fields of JSON files to set; undefined removes one. */
  json?: Record<string, Json>;
}

export const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
export const { token, words } = JSON.parse(readFileSync(path.join(fixtures, 'weights.json'), 'utf8')) as {
  token: number[][];
  words: string[];
};
export const [eos, mask, unk, red, green, blue] = [0, 1, 2, 3, 4, 5] as const;
export const image = { data: new Uint8Array(10 * 5 * 3).fill(90), width: 10, height: 5, channels: 3 } as const;

export let root: string;
let count = 0;
export let engine: NativeEngine;
export let clip: Clip;

/** Declares the hooks that the tests need. */
export function setUp(): void {
  test.before(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'fkinv-manifest-'));
    engine = cpuEngine(2);
    clip = await Clip.load(engine, new ModelFolder(path.join(fixtures, 'clip')));
  });
  test.after.always(async () => {
    await engine.dispose();
    await rm(root, { recursive: true });
  });
}

export async function folder(
  kind: 'dllm' | 'clip',
  { graph, files = {}, manifest, json = {} }: Folder = {},
): Promise<string> {
  const at = path.join(root, `${kind}-${++count}`);
  await cp(path.join(fixtures, kind), at, { recursive: true });
  for (const [name, from] of Object.entries(files)) await cp(path.join(fixtures, from), path.join(at, name));
  const changes = { ...json };
  if (graph !== undefined) {
    await cp(path.join(fixtures, 'graphs', `${graph}.onnx`), path.join(at, 'model.onnx'));
    changes['config.json'] = { condition: undefined, ...json['config.json'] };
  }
  for (const [name, fields] of Object.entries(changes)) {
    const file = path.join(at, name);
    await writeFile(file, JSON.stringify({ ...(JSON.parse(await readFile(file, 'utf8')) as Json), ...fields }));
  }
  if (manifest !== undefined) await writeFile(path.join(at, 'fkinv.json'), JSON.stringify(manifest));
  return at;
}

export const plain = { graph: 'dllm_plain' };

export async function loadDllm(what: Folder = {}): Promise<Dllm> {
  return Dllm.load(engine, new ModelFolder(await folder('dllm', what)), clip);
}

export async function fails(
  t: ExecutionContext,
  load: Promise<unknown>,
  code: ErrorCode,
  ...named: string[]
): Promise<void> {
  const error = await t.throwsAsync(load, { instanceOf: FkinvError, code });
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
}

export async function openInverter(t: ExecutionContext, what: Folder): Promise<Inverter> {
  const inverter = await Inverter.load({ dllm: await folder('dllm', what), clip: path.join(fixtures, 'clip') });
  t.teardown(() => inverter.dispose());
  return inverter;
}

const ofFour = { 'preprocessor_config.json': { size: { height: 4, width: 4 }, do_normalize: false } };
export const preprocessor = { 'preprocessor_config.json': 'clip/preprocessor_config.json' };

export function withTower(graph: string, tower: string, condition: Json, manifest: Json = {}): Folder {
  return {
    graph,
    files: { ...preprocessor, 'vision/tower.onnx': tower },
    json: ofFour,
    manifest: { condition: { from: 'vision/tower.onnx', ...condition }, ...manifest },
  };
}

export const features = { input: 'image_features', output: 'image_features' };
export const seeing = (tower = 'graphs/tower_halves.onnx', graph = 'dllm_seeing'): Folder =>
  withTower(graph, tower, features);

export function logProbability(logits: number[], token: number, noStop: boolean): number {
  const allowed = logits.filter((_, id) => id !== mask && id !== unk && (id !== eos || !noStop));
  return (logits[token] ?? NaN) - Math.log(allowed.reduce((total, logit) => total + Math.exp(logit), 0));
}

export const options = { particles: 8, steps: 4, length: 7, minLength: 3 };

export async function collect<T>(results: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const result of results) all.push(result);
  return all;
}
