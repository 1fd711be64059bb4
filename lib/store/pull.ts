import { z } from 'zod';
import { FkinvError } from '../errors';
import { nameOf, parseHubName, type HubName } from '../models/model-name';
import { familyOf } from '../native/devices';
import type { Device } from '../options';
import { usableMemory } from '../util/cgroup';
import { validate } from '../util/validate';
import { CachedRepository } from './cache';
import { cachedModel } from './cached-model';
import { choose } from './choose';
import { Fetching, freeBytesAt } from './fetching';
import { Hub, type RemoteFile } from './hub';
import type { PullProgress } from './progress';
import { inUnits } from '../util/units';
import { storeSettings, type StoreSettings } from './settings';

/** Options of {@link pull}. */
export interface PullOptions {
  /** Ends the pull, which then rejects with code `ABORTED`: what is there of a file stays, and the next pull goes on with it. */
  signal?: AbortSignal;
  /** Called with each piece that comes, thousands of times for a large file. What it throws ends the pull. */
  onProgress?: (progress: PullProgress) => void;
}

/** What a {@link pull} fetched. */
export interface PulledModel {
  /** The folder that has the files, which `Inverter.load` takes, as it takes the name. */
  folder: string;
  /** The repository, `org/name`. */
  repository: string;
  /** The commit whose files these are, 40 hexadecimal digits. */
  commit: string;
  /** The variant of the graphs, such as `q8`; null where the repository's manifest names its graphs. */
  variant: string | null;
  /** The licence that the repository states, such as `apache-2.0`; null where it states none. */
  licence: string | null;
  /** Bytes of the model's files. */
  bytes: number;
}

/** @internal What a pull is about to do. */
export interface PullPlan extends PulledModel {
  kind: 'clip' | 'dllm';
  /** The variants that the repository has. */
  variants: string[];
  /** Bytes to fetch. */
  missingBytes: number;
  /** Bytes that are free on the disk of the cache. */
  freeBytes: number;
  /** Bytes of memory that the model's weights take, once loaded, at least. */
  memoryBytes: number;
  /** Bytes of memory that a process can have here. */
  usableMemoryBytes: number;
}

/** @internal Options of {@link pullModel}, which are the command's and those of tests too. */
export interface PullCall extends PullOptions {
  /** Called with one line for what one should know. */
  warn: (message: string) => void;
  /** What the model is to run on. */
  device: Device;
  /** Called before a file is fetched; where it gives false, none is. */
  confirm?: (plan: PullPlan) => Promise<boolean>;
  /** Milliseconds before an interrupted request is made again, each time twice as long; default 500. */
  pause?: number;
  /** Where it comes from and goes to; default as the environment has it. */
  settings?: StoreSettings;
}

const pullSchema = z.strictObject({
  signal: z.instanceof(AbortSignal, { error: 'must be an AbortSignal' }).optional(),
  onProgress: z
    .custom<(progress: PullProgress) => void>((f) => typeof f === 'function', 'must be a function')
    .optional(),
});

/**
 * Fetches a model from the Hugging Face Hub into its cache, where Python tools look for it too, or makes sure that it is there: the
 * graphs of one variant, the files in which they keep their weights, tokenizer, configs and licence. Each file is held to its hash
 * before it counts as there. The environment says from where, who asks and where to: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_CACHE`,
 * `HF_HOME`, `HF_HUB_OFFLINE`, `HTTPS_PROXY`.
 * @param name - `hf:org/name[:variant][@revision]`; default the variant that this machine runs best, of the revision `main`.
 * @param options - A signal, and a callback for progress.
 * @returns Where it is, and what was fetched.
 * @throws FkinvError `INVALID_OPTION`, `HUB_UNAVAILABLE`, `HUB_REFUSED`, `HUB_INVALID`, `CACHE_FAILED`, `MODEL_NOT_FOUND` (offline, or
 *   no such variant), `MODEL_INVALID` (a broken graph or manifest) or `ABORTED`
 */
export async function pull(name: string, options: PullOptions = {}): Promise<PulledModel> {
  const { signal, onProgress } = validate(pullSchema, options, 'options of pull');
  const warn = (message: string): void => process.emitWarning(message, 'FkinvWarning');
  return pullModel(name, {
    warn,
    device: 'auto',
    ...(signal !== undefined && { signal }),
    ...(onProgress !== undefined && { onProgress }),
  });
}

/** @internal What {@link pull} is, with all that the command needs. Throws `ABORTED` where `confirm` says no. */
export async function pullModel(text: string, call: PullCall): Promise<PulledModel> {
  const { signal, warn, pause = 500, settings = storeSettings() } = call;
  const name = parseHubName(text);
  if (settings.isOffline) return cachedAsPulled(settings, name, call);
  const hub = await Hub.open(settings, { signal, warn, pause });
  try {
    signal?.throwIfAborted();
    return await pullFrom(hub, settings, name, call);
  } catch (error) {
    if (signal?.aborted !== true) throw error;
    const what = `the pull of ${nameOf(name)} was aborted: another one goes on where it stopped`;
    throw new FkinvError('ABORTED', what, { cause: signal.reason });
  } finally {
    await hub.close();
  }
}

async function cachedAsPulled(settings: StoreSettings, name: HubName, { device }: PullCall): Promise<PulledModel> {
  const { folder, repository, commit, variant = null, bytes } = await cachedModel(settings, name, familyOf(device));
  return { folder, repository, commit, variant, licence: null, bytes };
}

async function pullFrom(hub: Hub, settings: StoreSettings, name: HubName, call: PullCall): Promise<PulledModel> {
  const { repository, revision = 'main', variant: asked } = name;
  const listing = await hub.list(repository, revision);
  const { commit, licence = null } = listing;
  const cached = new CachedRepository(settings.cache, repository);
  const fetching = new Fetching(hub, cached, listing, call.onProgress);

  const names = listing.files.map((file) => file.path);
  const choice = choose({ repository, names, manifest: await fetching.manifest() }, asked, familyOf(call.device));
  const { kind, variant = null, variants } = choice;
  const graphs = fetching.named(choice.graphs);
  const others = fetching.named(choice.others);
  const told = [...choice.graphs, ...choice.others];
  const expected = await fetching.dataOf(graphs, told);

  const weights = sizeOf([...graphs, ...expected]);
  const model = {
    folder: cached.snapshot(commit),
    repository,
    commit,
    variant,
    licence,
    bytes: weights + sizeOf(others),
  };
  const missingBytes = await fetching.missingBytes([...others, ...expected, ...graphs]);
  const memory = { memoryBytes: weights, usableMemoryBytes: usableMemory() };
  const plan = { ...model, ...memory, kind, variants, missingBytes, freeBytes: await freeBytesAt(settings.cache) };
  await checkPlan(plan, name, settings, call);

  await fetching.fetch([...others, ...expected, ...graphs]);
  const data = await fetching.dataOf(graphs, told);
  await fetching.fetch(data);
  await fetching.finish([...others, ...data, ...graphs], revision);
  return { ...model, bytes: sizeOf([...others, ...data, ...graphs]) };
}

/** Throws `CACHE_FAILED` where the disk has no room, and `ABORTED` where whoever asked does not want it; warns of too little memory. */
async function checkPlan(plan: PullPlan, name: HubName, settings: StoreSettings, call: PullCall): Promise<void> {
  const { missingBytes, freeBytes, memoryBytes, usableMemoryBytes } = plan;
  if (missingBytes > freeBytes) {
    throw new FkinvError(
      'CACHE_FAILED',
      `${nameOf(name)} takes ${inUnits(missingBytes)} more, and the disk of ${settings.cache} has ${inUnits(freeBytes)} free: make room, ` +
        'or name a folder of another disk by HF_HUB_CACHE',
    );
  }
  if (memoryBytes > usableMemoryBytes) {
    call.warn(
      `${nameOf(name)} takes ${inUnits(memoryBytes)} of memory at least, and this machine has ${inUnits(usableMemoryBytes)}: ` +
        `a smaller variant may fit (it has ${plan.variants.join(', ') || 'no other'})`,
    );
  }
  if (missingBytes > 0 && (await call.confirm?.(plan)) === false) {
    throw new FkinvError('ABORTED', `${nameOf(name)} was not fetched`);
  }
}

function sizeOf(files: RemoteFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
