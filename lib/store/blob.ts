import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Response } from 'undici';
import { FkinvError } from '../errors';
import { syncFolderOf, writeAll } from '../files/disk';
import { expectNoPointer } from '../models/model-folder';
import { bytesAt, type CachedRepository } from './cache';
import { Interrupted, type Hub, type Listing, type RemoteFile } from './hub';

/** Attempts, one after the other, of which none brought a byte. */
const fruitlessAttempts = 6;

/** No pointer of Git LFS is longer. */
const longestPointer = 1024;

/**
 * Fetches a file into the cache, from where an earlier attempt stopped, and holds it to its hash before it counts as there.
 * `onBytes` is told how many of its bytes are there. Throws `HUB_UNAVAILABLE`, `HUB_REFUSED`, `HUB_INVALID` or `CACHE_FAILED`.
 */
export async function fetchBlob(
  hub: Hub,
  cached: CachedRepository,
  listing: Listing,
  file: RemoteFile,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const download = new Download(hub, cached, listing, file, onBytes);
  await cached
    .writing(download.partial, () => download.run())
    .catch(async (error: unknown) => {
      // Where locks do not work, another process may have made it whole, and taken the partial away.
      if ((await bytesAt(cached.blob(file.hash))) !== file.bytes) throw error;
    });
}

class Download {
  readonly partial: string;

  constructor(
    private readonly hub: Hub,
    private readonly cached: CachedRepository,
    private readonly listing: Listing,
    private readonly file: RemoteFile,
    private readonly onBytes: (bytes: number) => void,
  ) {
    this.partial = cached.partial(file.hash);
  }

  async run(): Promise<void> {
    await mkdir(path.dirname(this.partial), { recursive: true });
    const began = (await bytesAt(this.partial)) ?? 0;
    await this.#fetch();
    let fault = await this.#faultOf();
    if (fault !== undefined && began > 0) {
      await rm(this.partial);
      await this.#fetch(); // what an earlier run left may have been broken
      fault = await this.#faultOf();
    }
    const blob = this.cached.blob(this.file.hash);
    if (fault === undefined) {
      await rename(this.partial, blob);
      await syncFolderOf(blob);
      return;
    }
    await expectNoPointer(this.partial).finally(() => rm(this.partial));
    throw this.#invalid(`${fault}: pull it again, or without the mirror`);
  }

  /** Fetches what is missing of the partial. */
  async #fetch(): Promise<void> {
    const { pause, signal } = this.hub.options;
    for (let fruitless = 0; ;) {
      const before = (await bytesAt(this.partial)) ?? 0;
      try {
        await this.#attempt();
        return;
      } catch (error) {
        if (!(error instanceof Interrupted)) throw error;
        const isFruitless = ((await bytesAt(this.partial)) ?? 0) <= before;
        fruitless = isFruitless ? fruitless + 1 : 0;
        if (fruitless === fruitlessAttempts) throw this.hub.unavailable(error);
        await sleep(pause * 2 ** fruitless, undefined, { signal });
      }
    }
  }

  async #attempt(): Promise<void> {
    let handle = await open(this.partial, constants.O_RDWR | constants.O_CREAT);
    try {
      let position = (await handle.stat()).size;
      if (position > this.file.bytes) [handle, position] = [await this.#startOver(handle), 0];
      this.onBytes(position);
      if (position < this.file.bytes) {
        const response = await this.hub.open(this.listing, this.file, position);
        if (position > 0 && !isFrom(position, response)) [handle, position] = [await this.#startOver(handle), 0];
        await this.#expectLength(response, position);
        await this.#write(response, handle, position);
      }
      await handle.datasync();
    } finally {
      await handle.close();
    }
  }

  /** A new file in the partial's place: the old one may be another process's too, where locks do not work. */
  async #startOver(handle: FileHandle): Promise<FileHandle> {
    await handle.close();
    await rm(this.partial, { force: true });
    this.onBytes(0);
    return open(this.partial, constants.O_RDWR | constants.O_CREAT);
  }

  /** Throws `HUB_INVALID` where an answer that begins at `position` says that it ends elsewhere than the file. */
  async #expectLength(response: Response, position: number): Promise<void> {
    const header = response.headers.get('content-length');
    const length = header === null ? undefined : Number(header) + position;
    if (length === undefined || length === this.file.bytes) return;
    const text = length < longestPointer ? await response.text() : '';
    if (text === '') await response.body?.cancel();
    const isPointer = text.startsWith('version https://git-lfs');
    throw this.#invalid(
      isPointer
        ? 'comes as the Git LFS pointer that stands for it: pull it again, or without the mirror'
        : `comes with ${length} bytes and should have ${this.file.bytes}: pull it again, or without the mirror`,
    );
  }

  async #write({ body }: Response, handle: FileHandle, start: number): Promise<void> {
    let position = start;
    const chunks = (body ?? []) as AsyncIterable<Uint8Array>;
    for await (const chunk of interruptible(chunks, this.hub.options.signal)) {
      if (position + chunk.length > this.file.bytes) throw this.#invalid('comes with more bytes than it has');
      await writeAll(handle, Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length), position);
      position += chunk.length;
      this.onBytes(position);
    }
    if (position < this.file.bytes)
      throw new Interrupted(`the line was cut at ${position} of ${this.file.bytes} bytes`);
  }

  /** What is wrong with the whole partial; undefined where its hash is the file's. */
  async #faultOf(): Promise<string | undefined> {
    const { hash: wanted, bytes } = this.file;
    const isGit = wanted.length === 40;
    const hash = createHash(isGit ? 'sha1' : 'sha256');
    if (isGit) hash.update(`blob ${bytes}\0`);
    for await (const chunk of createReadStream(this.partial, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
    const found = hash.digest('hex');
    return found === wanted
      ? undefined
      : `has the ${isGit ? 'git hash' : 'SHA-256'} ${found} and should have ${wanted}`;
  }

  #invalid(what: string): FkinvError {
    return new FkinvError('HUB_INVALID', `${this.file.path} of ${this.listing.repository} ${what}`);
  }
}

/** Whether an answer begins at the byte `position`. */
function isFrom(position: number, { status, headers }: Response): boolean {
  return status === 206 && headers.get('content-range')?.startsWith(`bytes ${position}-`) === true;
}

/** The pieces of a body; what ends it early is an interruption. */
async function* interruptible(
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await pieces.next().catch((cause: unknown) => {
        signal?.throwIfAborted();
        throw new Interrupted('the line was cut', { cause });
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await pieces.return?.();
  }
}
