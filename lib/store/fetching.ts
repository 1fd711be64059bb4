import { readFile, statfs } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError } from '../errors';
import { manifestName } from '../models/manifest';
import { expectNoPointer } from '../models/model-folder';
import { externalData } from '../models/onnx-file';
import { fetchBlob } from './blob';
import { bytesAt, type CachedRepository } from './cache';
import type { Hub, Listing, RemoteFile } from './hub';
import { exclusively } from './lock';
import type { PullProgress } from './progress';

/** Graphs of no more bytes are fetched before it is told what is to be fetched: they alone say where their weights are. */
const smallGraph = 2 ** 26;

/** A model's files by what they are, in the order in which they are fetched. */
export interface Files {
  others: RemoteFile[];
  data: RemoteFile[];
  graphs: RemoteFile[];
}

/** The files of one revision on their way into the cache. */
export class Fetching {
  constructor(
    private readonly hub: Hub,
    private readonly cached: CachedRepository,
    private readonly listing: Listing,
    private readonly onProgress: (progress: PullProgress) => void = () => undefined,
  ) {}

  /** The text of the repository's manifest; undefined where it has none. */
  async manifest(): Promise<string | undefined> {
    const file = this.listing.files.find(({ path: name }) => name === manifestName);
    if (file === undefined) return undefined;
    await this.fetch([file]);
    return readFile(await this.#pathOf(file), 'utf8');
  }

  /** The files of these names. */
  named(names: readonly string[]): RemoteFile[] {
    return this.listing.files.filter(({ path: name }) => names.includes(name));
  }

  /**
   * The files that graphs keep their weights in. A graph that is not there is asked once it is fetched, which is done where it is
   * small and there is what it could mean; a large one has its weights in files that are called as it is, or in itself.
   */
  async dataOf(graphs: RemoteFile[], names: readonly string[]): Promise<RemoteFile[]> {
    const data = new Set<RemoteFile>();
    for (const graph of graphs) {
      const candidates = this.listing.files.filter(
        ({ path: name }) => !names.includes(name) && mayBeData(name, graph.path),
      );
      const isThere = await this.isThere(graph);
      if (candidates.length > 0 && graph.bytes <= smallGraph) await this.fetch([graph]);
      const found =
        isThere || graph.bytes <= smallGraph
          ? await this.#dataNamedBy(graph)
          : candidates.filter(({ path: name }) => name.startsWith(graph.path));
      for (const file of found) data.add(file);
    }
    return [...data];
  }

  async #dataNamedBy(graph: RemoteFile): Promise<RemoteFile[]> {
    if (!(await this.isThere(graph))) return [];
    const file = await this.#pathOf(graph);
    const shown = `${graph.path} of ${this.listing.repository}`;
    await expectNoPointer(file, shown);
    const names = await externalData(file, graph.path, shown);
    const missing = names.find((name) => !this.listing.files.some((file) => file.path === name));
    if (missing === undefined) return this.named(names);
    throw new FkinvError('MODEL_INVALID', `${shown} keeps weights in ${missing}, which the repository does not have`);
  }

  /** Whether a file is in the cache, whole. */
  async isThere(file: RemoteFile): Promise<boolean> {
    return (await bytesAt(await this.#pathOf(file))) === file.bytes;
  }

  /** Where a file is, or is to be: in the snapshot, where it led there before, else among the blobs. */
  async #pathOf({ path: name, bytes, hash }: RemoteFile): Promise<string> {
    const linked = this.cached.file(this.listing.commit, name);
    return (await bytesAt(linked)) === bytes ? linked : this.cached.blob(hash);
  }

  /** Those of `files` that are not there; of equal ones the first. */
  async #missing(files: RemoteFile[]): Promise<RemoteFile[]> {
    const isThere = await Promise.all(files.map((file) => this.isThere(file)));
    const missing = files.filter((_, i) => isThere[i] === false);
    return [...new Map(missing.map((file) => [file.hash, file])).values()];
  }

  /** Bytes of `files` that are still to come. */
  async missingBytes(files: RemoteFile[]): Promise<number> {
    let sum = 0;
    for (const { bytes, hash } of await this.#missing(files)) {
      sum += bytes - Math.min(bytes, (await bytesAt(this.cached.partial(hash))) ?? 0);
    }
    return sum;
  }

  /** Fetches those of `files` that are not there. */
  async fetch(files: RemoteFile[]): Promise<void> {
    if ((await this.#missing(files)).length === 0) return; // nothing is written, should the cache be read-only
    await this.#exclusively(async () => {
      const missing = await this.#missing(files); // another process may have fetched them meanwhile
      const size = missing.reduce((sum, file) => sum + file.bytes, 0);
      let before = 0;
      for (const file of missing) {
        const { path: name, bytes: fileSize } = file;
        await fetchBlob(this.hub, this.cached, this.listing, file, (fileBytes) => {
          const { repository } = this.listing;
          this.onProgress({ repository, file: name, fileBytes, fileSize, bytes: before + fileBytes, size });
        });
        before += fileSize;
      }
    });
  }

  /**
   * Has the snapshot lead to `files`, which are all there, graphs last: whoever finds those finds the rest. Then `revision` is this
   * commit.
   */
  async finish(files: RemoteFile[], revision: string): Promise<void> {
    const { commit } = this.listing;
    const isLinked = async ({ path: name, bytes }: RemoteFile): Promise<boolean> =>
      (await bytesAt(this.cached.file(commit, name))) === bytes;
    const linked = await Promise.all(files.map(isLinked));
    const isKnown = (await this.cached.commitOf(revision)) === commit;
    if (isKnown && !linked.includes(false)) return;
    await this.#exclusively(async () => {
      for (const file of files) if (!(await isLinked(file))) await this.cached.link(commit, file.path, file.hash);
      await this.cached.setCommit(revision, commit);
    });
  }

  #exclusively(work: () => Promise<void>): Promise<void> {
    const { signal, warn } = this.hub.options;
    const onWait = (): void => warn(`waits for another process that fetches ${this.listing.repository}`);
    return exclusively(this.cached, work, onWait, signal);
  }
}

/** Whether a file can have weights of `graph`: they lie beside it, under any name. */
function mayBeData(name: string, graph: string): boolean {
  const folder = path.posix.dirname(graph);
  const isBeside = folder === '.' || name.startsWith(`${folder}/`);
  return isBeside && !/\.(onnx|json|md|txt|jinja)$|(^|\/)\.git[^/]*$/.test(name);
}

/** Bytes that are free where `folder` is, or will be. */
export async function freeBytesAt(folder: string): Promise<number> {
  for (let at = folder; ; at = path.dirname(at)) {
    const found = await statfs(at).catch(() => undefined);
    if (found !== undefined) return found.bavail * found.bsize;
    if (at === path.dirname(at)) return Infinity;
  }
}
