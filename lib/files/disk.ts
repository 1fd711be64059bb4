import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError, messageOf } from '../errors';

/** Gives a handler of rejections that throws `OUTPUT_FAILED`: what could not be done with `file`, and why. */
export function outputFailed(what: string, file: string): (cause: unknown) => never {
  return (cause) => {
    if (cause instanceof FkinvError) throw cause;
    throw new FkinvError('OUTPUT_FAILED', `cannot ${what} ${file}: ${messageOf(cause)}`, { cause });
  };
}

/** Makes what was created, renamed or removed in the folder of `file` outlast a crash of the machine. Windows does so by itself. */
export async function syncFolderOf(file: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path.dirname(path.resolve(file)), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Writes all of `data` at the byte `position`: one write may do less than it is asked for. */
export async function writeAll(handle: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let done = 0; done < data.length;) {
    const { bytesWritten } = await handle.write(data, done, data.length - done, position + done);
    done += bytesWritten;
  }
}
