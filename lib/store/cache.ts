import { constants } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError, messageOf } from '../errors';

// The cache of the Hugging Face Hub, as its Python library lays it out, so that each finds what the other fetched:
// https://huggingface.co/docs/huggingface_hub/guides/manage-cache
// A file's content is blobs/<hash>, and snapshots/<commit>/<path> a relative link to it; refs/<revision> holds the commit.

/** What the folder of a model begins with in the cache. */
const folderStart = 'models--';

/** The end of the name of what is not all there. */
const unfinished = '.fkinv.incomplete';

/** A repository in the cache. */
export class CachedRepository {
  /** Its folder. */
  readonly path: string;

  constructor(
    readonly cache: string,
    readonly repository: string,
  ) {
    this.path = path.join(cache, folderStart + repository.replace('/', '--'));
  }

  /** All that are in the cache. */
  static async all(cache: string): Promise<CachedRepository[]> {
    const folders = await readdir(cache).catch(() => []);
    const names = folders.flatMap((folder) => /^models--([^-].*?)--(.+)$/.exec(folder)?.slice(1).join('/') ?? []);
    return names.sort().map((name) => new CachedRepository(cache, name));
  }

  blob(hash: string): string {
    return path.join(this.path, 'blobs', hash);
  }

  /** What is fetched of a blob so far. Python's library has partials of its own, which others may write. */
  partial(hash: string): string {
    return path.join(this.path, 'blobs', hash + unfinished);
  }

  snapshot(commit: string): string {
    return path.join(this.path, 'snapshots', commit);
  }

  /** Where the file `name` is in a snapshot. */
  file(commit: string, name: string): string {
    return path.join(this.snapshot(commit), ...name.split('/'));
  }

  /** The commit that `revision` was when it was fetched last; undefined where it was not. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (/^[0-9a-f]{40}$/.test(revision)) return revision;
    const text = await readFile(this.ref(revision), 'utf8').catch(() => '');
    return /^[0-9a-f]{40}$/.exec(text.trim())?.[0];
  }

  /** The revisions that were fetched by name, by their commits. */
  async revisions(): Promise<Map<string, string[]>> {
    const names = await readdir(path.join(this.path, 'refs'), { recursive: true }).catch(() => []);
    const revisions = new Map<string, string[]>();
    for (const name of names.map((each) => each.replaceAll(path.sep, '/')).sort()) {
      const commit = await this.commitOf(name);
      if (commit !== undefined) revisions.set(commit, [...(revisions.get(commit) ?? []), name]);
    }
    return revisions;
  }

  async commits(): Promise<string[]> {
    return (await readdir(path.join(this.path, 'snapshots')).catch(() => [])).filter((name) =>
      /^[0-9a-f]{40}$/.test(name),
    );
  }

  /** The files of a snapshot whose content is there, with slashes. */
  async names(commit: string): Promise<string[]> {
    const found = await readdir(this.snapshot(commit), { recursive: true }).catch(() => []);
    const names = found.map((name) => name.replaceAll(path.sep, '/')).filter((name) => !name.endsWith(unfinished));
    const bytes = await Promise.all(names.map((name) => bytesAt(this.file(commit, name))));
    return names.filter((_, i) => bytes[i] !== undefined).sort();
  }

  /** Writes down which commit a revision is; a commit is its own name. Throws `CACHE_FAILED`. */
  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.commitOf(revision)) === commit) return;
    const file = this.ref(revision);
    await this.writing(file, async () => {
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, commit);
    });
  }

  /** The file that holds the commit of a revision. */
  ref(revision: string): string {
    return path.join(this.path, 'refs', ...revision.split('/'));
  }

  /**
   * Has the file `name` of a snapshot lead to its blob. Where the system makes no links the blob itself goes there, as Python's
   * library has it. Throws `CACHE_FAILED`.
   */
  async link(commit: string, name: string, hash: string, makeLink = symlink): Promise<void> {
    const file = this.file(commit, name);
    const blob = this.blob(hash);
    const target = path.relative(path.dirname(file), blob);
    await this.writing(file, async () => {
      await mkdir(path.dirname(file), { recursive: true });
      if ((await readlink(file).catch(() => undefined)) === target) return;
      await rm(file, { force: true }); // a link to a blob that is no more
      try {
        await makeLink(target, file);
      } catch (error) {
        const { code = '' } = error as NodeJS.ErrnoException;
        if (!['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'UNKNOWN'].includes(code)) throw error;
        const copy = file + unfinished;
        await copyFile(blob, copy, constants.COPYFILE_FICLONE);
        await rename(copy, file);
        await rm(blob);
      }
    });
  }

  /** The file that a process locks while it writes the repository. */
  get lock(): string {
    return path.join(this.cache, '.locks', path.basename(this.path), 'fkinv.lock');
  }

  /** Does `work`, which writes `file`. Throws `CACHE_FAILED` for what the system fails with. */
  async writing<T>(file: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (cause instanceof FkinvError || code === undefined || !/^E[A-Z0-9]+$/.test(code)) throw cause;
      throw cacheFailed(file, cause);
    }
  }
}

/** The error for what the system failed with when `file` of the cache was written. */
function cacheFailed(file: string, cause: unknown): FkinvError {
  const { code } = cause as NodeJS.ErrnoException;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  const remedy = isFull
    ? 'make room, or name a folder of another disk by HF_HUB_CACHE; another pull goes on where this one stopped'
    : 'name a folder that can be written by HF_HUB_CACHE';
  const what = isFull ? `the disk is full, ${file} cannot be written` : `cannot write ${file}`;
  return new FkinvError('CACHE_FAILED', `${what} (${messageOf(cause)}): ${remedy}`, { cause });
}

/** Bytes of a file; undefined where there is none. */
export async function bytesAt(file: string): Promise<number | undefined> {
  const found = await stat(file).catch(() => undefined);
  return found?.isFile() === true ? found.size : undefined;
}
