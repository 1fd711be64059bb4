import { readFile } from 'node:fs/promises';
import { FkinvError } from '../errors';
import { manifestName } from '../models/manifest';
import { ModelFolder, type FolderOptions } from '../models/model-folder';
import { nameOf, type HubName } from '../models/model-name';
import { externalData } from '../models/onnx-file';
import { bytesAt, CachedRepository } from './cache';
import { choose, type Choice } from './choose';
import type { StoreSettings } from './settings';

/** A model in the cache, of which all is there. */
export interface CachedModel extends Choice {
  folder: string;
  repository: string;
  commit: string;
  /** The files in which the graphs keep their weights. */
  data: string[];
  /** All of its files, by their names in the folder. */
  files: string[];
  /** Bytes of them. */
  bytes: number;
}

/**
 * The model that `name` names, as it is in the cache; by default the variant of those that are there that the device runs best.
 * Throws `MODEL_NOT_FOUND` where it is not all there, and `MODEL_INVALID`.
 */
export async function cachedModel(
  settings: StoreSettings,
  name: HubName,
  device: 'cpu' | 'cuda',
): Promise<CachedModel> {
  const { repository, revision = 'main' } = name;
  const cached = new CachedRepository(settings.cache, repository);
  const commit = await cached.commitOf(revision);
  const names = commit === undefined ? [] : await cached.names(commit);
  const remedy = settings.isOffline
    ? 'HF_HUB_OFFLINE is set, unset it to fetch it'
    : `npx fkinv models pull ${nameOf(name)}`;
  const missing = (what: string): FkinvError => new FkinvError('MODEL_NOT_FOUND', `${nameOf(name)} ${what}: ${remedy}`);
  if (commit === undefined || names.length === 0) throw missing(`is not on this machine (${settings.cache})`);
  const manifest = names.includes(manifestName) ? await readFile(cached.file(commit, manifestName), 'utf8') : undefined;
  let choice: Choice;
  try {
    choice = choose({ repository, names, manifest }, name.variant, device);
  } catch (error) {
    if (!(error instanceof FkinvError) || error.code !== 'MODEL_NOT_FOUND') throw error;
    throw missing(`is there in part, or is no model (in ${cached.snapshot(commit)}, ${error.message})`);
  }
  const ofGraphs = await Promise.all(choice.graphs.map((graph) => externalData(cached.file(commit, graph), graph)));
  const data = ofGraphs.flat();
  const lost = data.find((file) => !names.includes(file));
  if (lost !== undefined) throw missing(`is there in part (${cached.file(commit, lost)} is missing)`);
  const files = [...new Set([...choice.graphs, ...data, ...choice.others])];
  const sizes = await Promise.all(files.map(async (file) => (await bytesAt(cached.file(commit, file))) ?? 0));
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  return { ...choice, folder: cached.snapshot(commit), repository, commit, data, files, bytes };
}

/** The folder of that model, whose graphs are of the variant that `name` has. Throws as {@link cachedModel}. */
export async function openCached(
  settings: StoreSettings,
  name: HubName,
  device: 'cpu' | 'cuda',
  options: Pick<FolderOptions, 'prepacking' | 'warn'> = {},
): Promise<ModelFolder> {
  const { folder, repository, variants } = await cachedModel(settings, name, device);
  // Where there are several variants, and none was asked for, the folder chooses, and says so.
  const only = variants.length === 1 ? variants[0] : undefined;
  return new ModelFolder(folder, { ...options, repository, variant: name.variant ?? only });
}
