import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { Examination } from './checks';
import { FkinvError } from '../errors';
import type { GraphFile } from '../models/graph-file';
import {
  clipGraph,
  clipManifest,
  dllmGraph,
  dllmManifest,
  fileName,
  manifestName,
  parseManifest,
  statedKind,
  towerGraph,
  type DllmManifest,
} from '../models/manifest';
import { expectNoPointer, sha256, type ModelFolder } from '../models/model-folder';
import { externalData } from '../models/onnx-file';

// What lies in a model folder, without loading any of it.

/** The two kinds of model folder. */
export type ModelKind = 'dllm' | 'clip';

/** A file of a model. */
export interface ModelFile {
  /** In the folder, with slashes on every system. */
  name: string;
  bytes: number;
  sha256: string;
}

/** Hashes of a folder's files, as `sha256sum` writes them: `fkinv models` and `fkinv doctor` hold the files to them. */
export const sumsName = 'SHA256SUMS';

/** Graphs of a folder without a manifest, by any of which it is of that kind. */
const usualGraphs = {
  clip: [clipGraph(clipManifest.parse({}), 'vision'), clipGraph(clipManifest.parse({}), 'text')],
  dllm: [dllmGraph(dllmManifest.parse({}))],
};

/** Tells which kind `folder` is: by its manifest, else by its graphs, else by config.json. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`. */
export async function kindOf(folder: ModelFolder): Promise<ModelKind> {
  const stated = statedKind(await folder.optionalJson(manifestName, z.looseObject({})), folder.repository);
  if (stated !== undefined) return stated;
  for (const kind of ['clip', 'dllm'] as const) {
    for (const graph of usualGraphs[kind]) if ((await folder.variantsThere(graph)).length > 0) return kind;
  }
  const config = await folder.optionalJson('config.json', z.looseObject({}));
  if (['text_config', 'projection_dim', 'text_cfg', 'model_cfg'].some((key) => key in config)) return 'clip';
  if ('mask_token_id' in config || 'vocab_size' in config) return 'dllm';
  throw new FkinvError(
    'MODEL_NOT_FOUND',
    `${folder.path} is no model folder: it has neither a dLLM's model.onnx nor a CLIP's vision_model.onnx and ` +
      `text_model.onnx, in itself or in its onnx/, and no ${manifestName} that names others`,
  );
}

/** What lies in a folder. */
export interface FilesReport {
  licence: string | null;
  weightType: string | null;
  /** File of the parity cases, where the manifest names one. */
  parityFile: string | null;
  /** What the model is made of. */
  files: ModelFile[];
}

/** The report of a folder whose files could not be looked at. */
export const noFiles: FilesReport = { licence: null, weightType: null, parityFile: null, files: [] };

/** Hashes the files of a model, as the check `name`, and holds them to what the manifest and `SHA256SUMS` give. */
export async function examineFiles(
  exam: Examination,
  name: string,
  folder: ModelFolder,
  kind: ModelKind,
): Promise<FilesReport> {
  const report: FilesReport = { licence: null, weightType: null, parityFile: null, files: [] };
  await exam.run(name, [], async () => {
    const manifest = await manifestOf(folder, kind);
    const sums = { ...(await sumsOf(folder)), ...manifest.files };
    report.licence = manifest.licence ?? null;
    report.weightType = manifest.weightType ?? null;
    report.parityFile = manifest.parity ?? null;
    report.files = await filesOf(folder, manifest, Object.keys(sums));
    await compare(folder, report.files, sums);
    return [summary(report.files, Object.keys(sums).length), undefined];
  });
  return report;
}

/** Bytes as people read them. */
export function sizeText(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function summary(files: ModelFile[], given: number): string {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const compared = given > 0 ? `SHA-256 as given for ${given}` : 'no SHA-256 is given';
  const graphs = files
    .filter(({ name }) => name.includes('.onnx'))
    .map((file) => `${file.name} ${file.sha256.slice(0, 12)}`);
  return `${files.length} files, ${sizeText(bytes)}, ${compared}: ${graphs.join(', ')}`;
}

type Manifest = z.output<typeof dllmManifest> | z.output<typeof clipManifest>;

function manifestOf(folder: ModelFolder, kind: ModelKind): Promise<Manifest> {
  return parseManifest<Manifest>(folder, kind === 'dllm' ? dllmManifest : clipManifest);
}

/** The graphs of a model with their external data, and their bytes: what is loaded onto the device. */
export async function graphSizes(folder: ModelFolder, kind: ModelKind): Promise<Omit<ModelFile, 'sha256'>[]> {
  const names = await graphFiles(folder, await manifestOf(folder, kind));
  return Promise.all(names.map(async (name) => ({ name, bytes: (await sizeOf(folder.file(name))) ?? 0 })));
}

/** The vision graph of a dLLM's own, where it has one. */
function towersOf({ condition, optimization }: DllmManifest): GraphFile[] {
  if (typeof condition !== 'object' || condition.from === 'clip') return [];
  return [towerGraph(condition.from, optimization)];
}

async function filesOf(folder: ModelFolder, manifest: Manifest, more: string[]): Promise<ModelFile[]> {
  const tokenizer = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'];
  const ofOpenClip = ['visual/preprocess_cfg.json', ...tokenizer.map((name) => `textual/${name}`)];
  const fixed = ['config.json', 'preprocessor_config.json', ...tokenizer, ...ofOpenClip, manifestName];
  const names = new Set([...fixed, ...(await graphFiles(folder, manifest)), ...more]);
  if (manifest.parity !== undefined) names.add(manifest.parity);
  const files: ModelFile[] = [];
  for (const name of [...names].sort()) {
    const bytes = await sizeOf(folder.file(name));
    if (bytes !== undefined) files.push({ name, bytes, sha256: await sha256(folder.file(name)) });
  }
  if (files.length > 0) return files;
  throw new FkinvError('MODEL_NOT_FOUND', `${folder.path} has no file of a model in it, or is no folder`);
}

/** SHA-256 of all of a model: of its files' own, as `sha256sum` lists them. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`. */
export async function hashOfModel(folder: ModelFolder, kind: ModelKind): Promise<string> {
  const files = await filesOf(folder, await manifestOf(folder, kind), []);
  const list = files.map((file) => `${file.sha256}  ${file.name}\n`).join('');
  return createHash('sha256').update(list).digest('hex');
}

async function compare(folder: ModelFolder, files: ModelFile[], sums: Record<string, string>): Promise<void> {
  for (const [name, wanted] of Object.entries(sums)) {
    const found = files.find((file) => file.name === name)?.sha256;
    if (found === wanted) continue;
    const file = folder.file(name);
    await expectNoPointer(file);
    throw found === undefined
      ? new FkinvError('MODEL_NOT_FOUND', `${file} is missing, and a SHA-256 is given for it`)
      : new FkinvError('MODEL_INVALID', `${file} has the SHA-256 ${found}, and ${wanted} is given for it`);
  }
}

/** The graphs that a CPU takes, and the files in which they keep their weights. */
async function graphFiles(folder: ModelFolder, manifest: Manifest): Promise<string[]> {
  const graphs =
    'graphs' in manifest
      ? [clipGraph(manifest, 'vision'), clipGraph(manifest, 'text')]
      : [dllmGraph(manifest), ...towersOf(manifest)];
  const found: string[] = [];
  for (const graph of graphs) {
    const name = await folder.find(graph, 'cpu').then(
      (choice) => choice.name,
      () => undefined, // whoever loads it says what is missing
    );
    if (name === undefined) continue;
    const data = await externalData(folder.file(name), name).catch(() => []); // loading it says what is wrong with it
    found.push(name, ...data);
  }
  return found;
}

/** Bytes of a file; undefined where there is none. */
async function sizeOf(file: string): Promise<number | undefined> {
  const found = await stat(file).catch(() => undefined);
  return found?.isFile() === true ? found.size : undefined;
}

async function sumsOf(folder: ModelFolder): Promise<Record<string, string>> {
  const text = (await folder.optionalText(sumsName)) ?? '';
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  return Object.fromEntries(
    lines.map((line, i) => {
      const [, sum = '', name = ''] = /^([0-9a-f]{64}) [ *](.+)$/.exec(line) ?? [];
      if (fileName.safeParse(name).success) return [path.posix.normalize(name), sum]; // ./model.onnx of sha256sum ./*
      throw new FkinvError(
        'MODEL_INVALID',
        `${folder.file(sumsName)}: line ${i + 1} is no SHA-256, two spaces and a file in the folder`,
      );
    }),
  );
}
