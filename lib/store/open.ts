import path from 'node:path';
import { FkinvError } from '../errors';
import { ModelFolder, type FolderOptions } from '../models/model-folder';
import { nameOf, parseModelName, type FolderName, type HubName } from '../models/model-name';
import { familyOf } from '../native/devices';
import type { Device } from '../options';
import { cachedModel, openCached } from './cached-model';
import { pullModel } from './pull';
import { storeSettings } from './settings';

/** How a model is opened. */
export interface OpenOptions extends Pick<FolderOptions, 'prepacking' | 'warn'> {
  /** What it is to run on. */
  device: Device;
  /** Whether a model of the Hub that is not all in the cache is fetched; default false. */
  download?: boolean;
}

/** The folder of the embedded demo model of a kind. */
export function embeddedFolder(kind: 'dllm' | 'clip'): string {
  return path.join(__dirname, '..', '..', 'models', kind);
}

/**
 * The folder of a model that is named as text: a folder, or a repository of the Hub; by default the embedded one of its kind. Throws
 * what {@link openModel} throws, and `INVALID_OPTION`.
 */
export function openNamed(kind: 'dllm' | 'clip', text: string | undefined, options: OpenOptions): Promise<ModelFolder> {
  return openModel(parseModelName(text ?? embeddedFolder(kind)), options);
}

/**
 * The folder of a model: of one of the Hub the snapshot in the cache. Throws `MODEL_NOT_FOUND` where that is not all there and is not
 * to be fetched, else what fetching it throws.
 */
export async function openModel(
  name: HubName | FolderName,
  { device, download = false, ...folder }: OpenOptions,
): Promise<ModelFolder> {
  if (name.kind === 'folder') return new ModelFolder(path.resolve(name.path), folder);
  const settings = storeSettings();
  const family = familyOf(device);
  try {
    return await openCached(settings, name, family, folder);
  } catch (error) {
    const isMissing = error instanceof FkinvError && error.code === 'MODEL_NOT_FOUND';
    if (!isMissing || !download || settings.isOffline) throw error;
  }
  await pullModel(nameOf(name), { device, warn: folder.warn ?? (() => undefined) });
  return openCached(settings, name, family, folder);
}

/** Whether a model of the Hub is in the cache, all of it. */
export function isCached(name: HubName, device: Device): Promise<boolean> {
  return cachedModel(storeSettings(), name, familyOf(device)).then(
    () => true,
    () => false,
  );
}
