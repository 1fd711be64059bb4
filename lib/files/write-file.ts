import { randomUUID } from 'node:crypto';
import { constants, type BigIntStats } from 'node:fs';
import { access, open, readlink, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError } from '../errors';
import { outputFailed, syncFolderOf } from './disk';

// Every file that the package writes goes through here: only what it made itself, or an empty place, is ever replaced.

/** A kind of file that the package makes. */
export interface FileKind {
  /** What a message calls it: `table of fkinv batch`. */
  name: string;
  /** What to do where the file cannot be written, as the end of a message: `give another --csv`. */
  remedy: string;
  /** Whether a file is one of this kind, by its first 4096 bytes as text: any other is left alone. */
  isOwn: (beginning: string) => boolean;
  /** Whether a device (`/dev/null`) or a pipe is written to as it is; it is refused otherwise, and replaced never. */
  goesToStreams: boolean;
}

/** What a file is to hold: a text, or pieces of it in their order, texts or bytes. */
export type Content = string | Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>;

/**
 * Puts `content` whole in the place of `file`, or leaves what is there. It is written to a new file beside it, made to last,
 * then renamed; mode and owner stay those of the file before, and a link goes on leading to it. Several processes may do so at
 * once: the last one's is there then. A device or a pipe is written to as it is, where the kind allows it.
 * `onCreate` is given the path of the new file before it can be found under its name.
 * Throws `INVALID_OPTION` where something else is there, and `OUTPUT_FAILED` where it cannot be written.
 */
export async function replaceFile(
  file: string,
  kind: FileKind,
  content: Content,
  onCreate?: (created: string) => void,
): Promise<void> {
  try {
    const place = await placeOf(file, kind);
    if (place.isStream) {
      const handle = await openToAppend(place.path);
      await writeTo(handle, content).finally(() => handle.close());
    } else {
      await replace(file, place, content, onCreate);
    }
  } catch (cause) {
    outputFailed('write', file)(cause);
  }
}

/** A file that was begun as {@link replaceFile} does it, to which more is appended. */
export class OutputFile {
  private constructor(
    private readonly file: string,
    private readonly handle: FileHandle,
    private readonly isStream: boolean,
    private readonly release: () => void,
  ) {}

  /** Throws what {@link replaceFile} throws. */
  static async begin(file: string, kind: FileKind, content: Content): Promise<OutputFile> {
    let handle: FileHandle | undefined;
    try {
      const place = await placeOf(file, kind);
      if (!place.isStream) await replace(file, place, content);
      handle = await openToAppend(place.path);
      if (place.isStream) await writeTo(handle, content);
      return new OutputFile(file, handle, place.isStream, await holdFile(handle, file));
    } catch (cause) {
      await handle?.close();
      return outputFailed('write', file)(cause);
    }
  }

  /** Throws `OUTPUT_FAILED`. */
  async append(text: string): Promise<void> {
    await this.handle.writeFile(text).catch(outputFailed('write', this.file));
  }

  /** Makes it last. Throws `OUTPUT_FAILED`. */
  async close(): Promise<void> {
    this.release();
    try {
      if (!this.isStream) await this.handle.datasync();
    } catch (cause) {
      outputFailed('write', this.file)(cause);
    } finally {
      await this.handle.close();
    }
  }
}

/** Files that this process has open for writing, by device and inode, with the path that each was asked for. */
const held = new Map<string, string>();

/**
 * Keeps {@link replaceFile} from replacing the file of `handle`, by whatever path or link it is asked to: what is written there
 * afterwards would be lost. The function that it gives ends that.
 */
export async function holdFile(handle: FileHandle, file: string): Promise<() => void> {
  const stats = await handle.stat({ bigint: true });
  if (!stats.isFile()) return () => undefined;
  const key = keyOf(stats);
  held.set(key, file);
  return () => held.delete(key);
}

function keyOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

/** Throws `INVALID_OPTION` where there is something at `file` that is no regular file. */
export async function checkRegular(file: string, remedy: string): Promise<void> {
  const stats = await stat(file).catch(() => undefined);
  if (stats === undefined || stats.isFile() || stats.isDirectory()) return; // the system itself refuses to write to a folder
  throw refused(file, 'is no regular file', remedy);
}

function refused(file: string, what: string, remedy: string): FkinvError {
  return new FkinvError('INVALID_OPTION', `${file} ${what}: ${remedy}`);
}

/** Where a file goes: over the one of `stats`, to a place where there is none, or into a device or a pipe. */
interface Place {
  path: string;
  isStream: boolean;
  stats: BigIntStats | undefined;
}

/** Descriptors of a process as files: a link there is followed by the system alone. */
const descriptors = /^(\/proc\/\d+(\/task\/\d+)?|\/dev)\/fd$/;

async function placeOf(file: string, { name, remedy, isOwn, goesToStreams }: FileKind): Promise<Place> {
  if (file === '-') throw refused(file, 'is stdout for --out alone', 'give a file; ./- is one of that name');
  const target = await targetOf(file);
  const stats = await stat(target, { bigint: true }).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  });
  if (stats === undefined) return { path: target, isStream: false, stats };
  if (stats.isDirectory()) throw refused(file, 'is a folder', remedy);
  const isDescriptor = descriptors.test(path.dirname(target));
  if (!stats.isFile() || isDescriptor) {
    const isStream = stats.isFIFO() || stats.isCharacterDevice() || isDescriptor;
    if (isStream && goesToStreams) return { path: target, isStream, stats };
    throw refused(file, 'is no regular file', remedy);
  }
  const holder = held.get(keyOf(stats));
  if (holder !== undefined) throw refused(file, `is the file of ${holder}, which is being written`, remedy);
  await access(target, constants.W_OK); // a rename would succeed on a file that is write-protected
  if (stats.size > 0n && !isOwn(await beginningOf(target))) throw refused(file, `is no ${name}`, remedy);
  return { path: target, isStream: false, stats };
}

/**
 * Opens a file to append to it: where it is `/dev/stdout`, and stdout goes to a file, what else is printed there is not
 * overwritten.
 */
function openToAppend(file: string): Promise<FileHandle> {
  return open(file, constants.O_WRONLY | constants.O_APPEND);
}

/** The file that `file` leads to, through links whose last may lead to nothing. */
async function targetOf(file: string): Promise<string> {
  let target = path.resolve(file);
  for (let links = 0; links < 40; links++) {
    const folder = await realpath(path.dirname(target));
    target = path.join(folder, path.basename(target));
    const next = descriptors.test(folder) ? undefined : await readlink(target).catch(() => undefined);
    if (next === undefined) return target;
    target = path.resolve(folder, next);
  }
  throw new Error('too many links lead to one another');
}

async function beginningOf(file: string): Promise<string> {
  const handle = await open(file, constants.O_RDONLY);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function replace(
  file: string,
  { path: target, stats }: Place,
  content: Content,
  onCreate?: (created: string) => void,
): Promise<void> {
  // The name does not contain the file's own, which may already be as long as a name can be.
  const created = path.join(path.dirname(target), `.fkinv-${randomUUID()}.part`);
  const handle = await open(created, 'wx', stats === undefined ? 0o666 : 0o600);
  try {
    try {
      if (stats !== undefined) await makeAlike(file, handle, stats);
      onCreate?.(created);
      await writeTo(handle, content);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(created, target);
    await syncFolderOf(target);
  } catch (error) {
    await rm(created, { force: true }).catch(() => undefined); // the first failure is the one that is reported
    throw error;
  }
}

/** Gives a new file the owner and the mode of the one that it replaces. */
async function makeAlike(file: string, handle: FileHandle, { uid, gid, mode }: BigIntStats): Promise<void> {
  if (process.platform === 'win32') return;
  const own = await handle.stat({ bigint: true });
  if (own.uid !== uid || own.gid !== gid) {
    await handle.chown(Number(uid), Number(gid)).catch((cause: unknown) => {
      const message = `cannot write ${file}: a new file cannot be given to its owner: run as that user, or remove it first`;
      throw new FkinvError('OUTPUT_FAILED', message, { cause });
    });
  }
  const permissions = Number(mode & 0o7777n);
  if (((await handle.stat()).mode & 0o7777) !== permissions) await handle.chmod(permissions);
}

async function writeTo(handle: FileHandle, content: Content): Promise<void> {
  for await (const piece of typeof content === 'string' ? [content] : content) await handle.writeFile(piece);
}
