import { lstat, readdir, readFile, realpath, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError } from '../errors';
import { knownModels } from '../models/known';
import { manifestName } from '../models/manifest';
import { nameOf, type HubName } from '../models/model-name';
import { CachedRepository } from './cache';
import { cachedModel } from './cached-model';
import { choose } from './choose';
import { exclusively } from './lock';
import type { StoreSettings } from './settings';

/** A revision of a model that is in the cache. */
export interface StoredModel {
  /** `org/name`. */
  repository: string;
  kind: 'clip' | 'dllm' | null;
  /** The variants whose graphs are there; none where graphs that the manifest names are. */
  variants: string[];
  /** Whether it can be loaded, as far as the names of its files tell. */
  isWhole: boolean;
  /** Branches and tags that were fetched as it. */
  revisions: string[];
  commit: string;
  licence: string | null;
  /** Bytes of its files, which other revisions may share. */
  bytes: number;
  /** When one of its files was read last, as far as the system keeps it: most note it once a day. */
  lastUse: Date;
  folder: string;
}

/** The models in the cache that this package loads, or fetched in part. */
export async function storedModels({ cache }: Pick<StoreSettings, 'cache'>): Promise<StoredModel[]> {
  const models: StoredModel[] = [];
  for (const cached of await CachedRepository.all(cache)) {
    const revisions = await cached.revisions();
    for (const commit of await cached.commits()) {
      const model = await storedModel(cached, commit, revisions.get(commit) ?? []);
      if (model !== undefined) models.push(model);
    }
  }
  return models;
}

/** Undefined for what is of other packages. */
async function storedModel(
  cached: CachedRepository,
  commit: string,
  revisions: string[],
): Promise<StoredModel | undefined> {
  const { repository } = cached;
  const names = await cached.names(commit);
  const text = async (name: string): Promise<string | undefined> =>
    names.includes(name) ? readFile(cached.file(commit, name), 'utf8') : undefined;
  const choice = await text(manifestName)
    .then((manifest) => choose({ repository, names, manifest }, undefined, 'cpu'))
    .catch(() => undefined);
  const known = knownModels[repository];
  if (choice === undefined && known === undefined && !names.some((name) => name.endsWith('.onnx'))) return undefined;
  const stats = await Promise.all(names.map((name) => stat(cached.file(commit, name))));
  const stated = /^---\n(?:.*\n)*?license:\s*(\S+)/.exec((await text('README.md')) ?? '')?.[1];
  return {
    repository,
    kind: choice?.kind ?? known?.kind ?? null,
    variants: choice?.variants ?? [],
    isWhole: choice !== undefined,
    revisions,
    commit,
    licence: stated ?? known?.licence ?? null,
    bytes: stats.reduce((sum, { size }) => sum + size, 0),
    lastUse: new Date(Math.max(0, ...stats.map(({ atimeMs }) => atimeMs))),
    folder: cached.snapshot(commit),
  };
}

/** What is to be removed. */
export interface Removal {
  /** Bytes that it frees. */
  bytes: number;
  /** Removes it. Throws `CACHE_FAILED`. */
  remove: () => Promise<void>;
}

/**
 * Plans to remove a model from the cache: all of it; where `name` has a revision, that one's files; where it has a variant, that
 * one's graphs; with the blobs that nothing leads to any more. Throws `MODEL_NOT_FOUND`.
 */
export async function planRemoval(settings: StoreSettings, name: HubName): Promise<Removal> {
  const cached = new CachedRepository(settings.cache, name.repository);
  const { variant, revision = 'main' } = name;
  const commit = await cached.commitOf(revision);
  const isAll = variant === undefined && name.revision === undefined;
  const doomed = isAll ? await filesIn(cached.path) : await doomedIn(cached, commit, settings, name);
  if (doomed.length === 0) {
    throw new FkinvError('MODEL_NOT_FOUND', `${nameOf(name)} is not on this machine (${settings.cache})`);
  }
  const files = isAll ? doomed : [...doomed, ...(await blobsOfOnly(cached, doomed))];
  const folders = isAll ? [cached.path] : variant === undefined ? [cached.snapshot(commit ?? '')] : [];
  const refs = folders.length > 0 ? ((await cached.revisions()).get(commit ?? '') ?? []) : [];
  const remove = async (): Promise<void> => {
    for (const each of [...files, ...folders, ...refs.map((ref) => cached.ref(ref))]) {
      await rm(each, { recursive: true, force: true });
    }
  };
  const stats = await Promise.all(files.map((file) => lstat(file)));
  return {
    bytes: stats.reduce((sum, each) => sum + (each.isFile() ? each.size : 0), 0), // links take next to nothing
    remove: () => cached.writing(cached.path, () => exclusively(cached, remove, () => undefined)),
  };
}

/** The files of a snapshot that a name with a revision or a variant means. */
async function doomedIn(
  cached: CachedRepository,
  commit: string | undefined,
  settings: StoreSettings,
  name: HubName,
): Promise<string[]> {
  if (commit === undefined) return [];
  if (name.variant === undefined) return filesIn(cached.snapshot(commit));
  const { graphs, data } = await cachedModel(settings, name, 'cpu');
  return [...graphs, ...data].map((file) => cached.file(commit, file));
}

/** The blobs that these files of snapshots lead to, and no others. */
async function blobsOfOnly(cached: CachedRepository, doomed: string[]): Promise<string[]> {
  const kept = (await filesIn(path.join(cached.path, 'snapshots'))).filter((file) => !doomed.includes(file));
  const targetsOf = async (files: string[]): Promise<Set<string>> =>
    new Set(await Promise.all(files.map((file) => realpath(file).catch(() => file))));
  const needed = await targetsOf(kept);
  const blobs = await realpath(path.join(cached.path, 'blobs')).catch(() => '');
  return [...(await targetsOf(doomed))].filter((file) => !needed.has(file) && path.dirname(file) === blobs);
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => path.join(entry.parentPath, entry.name));
}
