import type { Stats } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError, messageOf } from '../errors';

/** A folder that jobs may name files of: as it was named, and with every link in it followed. */
interface Root {
  named: string;
  real: string;
}

/** The folders whose files jobs may name, at any depth. Throws `INVALID_OPTION` for one that is no folder. */
export async function rootsOf(folders: readonly string[]): Promise<Root[]> {
  return Promise.all(
    folders.map(async (folder) => {
      const real = folder === '' ? undefined : await realpath(folder).catch(() => undefined); // '' comes of a variable that is not set
      if (real !== undefined && (await stat(real)).isDirectory()) return { named: path.resolve(folder), real };
      throw new FkinvError('INVALID_OPTION', `--root ${folder}: there is no such folder`);
    }),
  );
}

/**
 * The real path of the regular file `image`, every link followed. A relative path is one of the worker's working folder. With
 * `roots`, it must be in one of them: a link inside that leads out does not count, one outside that leads in does. The path is
 * looked at before the file is opened, so whoever may change links inside a root while a worker reads can lead it out.
 * Throws `IMAGE_NOT_FOUND`, `IMAGE_INVALID` for what is no regular file, `IMAGE_FORBIDDEN`.
 */
export async function fileOfJob(image: string, roots: readonly Root[] | undefined): Promise<string> {
  let real: string;
  let found: Stats;
  try {
    real = await realpath(image);
    found = await stat(real);
  } catch (cause) {
    // Outside the roots one answer is given for what is there and for what is not, or jobs could ask what there is.
    if (
      !isIn(
        roots?.flatMap((root) => [root.named, root.real]),
        path.resolve(image),
      )
    )
      throw forbidden(image);
    throw new FkinvError('IMAGE_NOT_FOUND', `cannot read the image: ${messageOf(cause)}`, { cause });
  }
  if (
    !isIn(
      roots?.map((root) => root.real),
      real,
    )
  )
    throw forbidden(image);
  // A device may have no end, a pipe no writer.
  if (!found.isFile()) throw new FkinvError('IMAGE_INVALID', `${image} is ${kindOf(found)}, not a file`);
  return real;
}

function isIn(folders: readonly string[] | undefined, file: string): boolean {
  return folders === undefined || folders.some((folder) => isUnder(folder, file));
}

function isUnder(folder: string, file: string): boolean {
  const from = path.relative(folder, file); // absolute where they are on two drives of Windows
  return from !== '..' && !from.startsWith(`..${path.sep}`) && !path.isAbsolute(from);
}

function forbidden(image: string): FkinvError {
  return new FkinvError('IMAGE_FORBIDDEN', `${image} is in no folder that this worker was given by --root`);
}

function kindOf(found: Stats): string {
  if (found.isDirectory()) return 'a folder';
  if (found.isFIFO()) return 'a pipe';
  if (found.isSocket()) return 'a socket';
  return 'a device';
}
