import { constants } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError, messageOf } from '../errors';

/** Throws `OUTPUT_FAILED`: what could not be done with `file`, and why. */
export function outputFailed(what: string, file: string): (cause: unknown) => never {
  return (cause) => {
    throw new FkinvError('OUTPUT_FAILED', `cannot ${what} ${file}: ${messageOf(cause)}`, { cause });
  };
}

/** Makes what was created, renamed or removed in the folder of `file` last. Windows does so by itself. */
export async function syncFolderOf(file: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path.dirname(path.resolve(file)), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** All of `data` at `position`: a write may do less than it is asked for. */
export async function writeAll(handle: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let done = 0; done < data.length;) {
    const { bytesWritten } = await handle.write(data, done, data.length - done, position + done);
    done += bytesWritten;
  }
}

/**
 * Puts a file whole in the place of `file`, or leaves what is there: it is written beside it, made to last, then renamed. Where
 * several write the same file, each needs a `beside` of its own.
 * Throws `OUTPUT_FAILED`.
 */
export async function replaceFile(
  file: string,
  write: (handle: FileHandle) => Promise<void>,
  beside = `${file}.part`,
): Promise<void> {
  try {
    const handle = await open(beside, 'w');
    try {
      await write(handle);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(beside, file);
    await syncFolderOf(file);
  } catch (cause) {
    await rm(beside, { force: true }).catch(() => undefined); // the first failure is the one that is told
    if (cause instanceof FkinvError) throw cause;
    outputFailed('write', file)(cause);
  }
}
