import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import picomatch from 'picomatch';
import { FkinvError, messageOf } from '../errors';

// Which images are meant: folders, globs, files, and a list on stdin.

/** Extensions of the formats that are decoded. */
const extensions = new Set('avif gif jfif jpe jpeg jpg png svg tif tiff webp'.split(' '));

/** Whether `file` is an image by its extension, in any case. */
export function isImage(file: string): boolean {
  return extensions.has(path.extname(file).slice(1).toLowerCase());
}

/** The input that stands for the lines of stdin. */
export const stdinInput = '-';

/** An input as a walk takes it: everything in a folder, what in it a glob matches, or one file. */
type Input = { folder: string; matches: (file: string) => boolean } | { file: string };

/** Throws `INVALID_OPTION` for an input that is no file, no folder and no glob of a folder that is there. */
export async function checkInputs(inputs: readonly string[]): Promise<void> {
  for (const input of inputs) if (input !== stdinInput) await interpret(input);
  if (inputs.filter((input) => input === stdinInput).length < 2) return;
  throw new FkinvError('INVALID_OPTION', '- is given twice: the list on stdin is read once');
}

async function interpret(input: string): Promise<Input> {
  const found = await stat(input).catch(() => undefined);
  if (found?.isDirectory() === true) return { folder: input, matches: () => true };
  if (found !== undefined) return { file: input };
  const { base, glob, isGlob } = picomatch.scan(toPosix(input));
  const folder = base === '' ? '.' : base;
  if (!isGlob || (await stat(folder).catch(() => undefined))?.isDirectory() !== true) {
    throw new FkinvError(
      'INVALID_OPTION',
      `${input}: there is no such file or folder, nor one that it is a pattern of`,
    );
  }
  const isMatch = picomatch(glob, { dot: true });
  return { folder, matches: (file) => isMatch(toPosix(path.relative(folder, file))) };
}

function toPosix(file: string): string {
  return path.sep === '\\' ? file.replaceAll('\\', '/') : file;
}

/**
 * The images of `inputs`, in their order: of a folder all that are anywhere in it, of a glob those that it matches, by name,
 * folder by folder (links to folders are not followed); files, and the lines of stdin, whatever they are. A folder that cannot
 * be read is told to `onUnreadable` and left out.
 */
export async function* imagesOf(
  inputs: readonly string[],
  stdin: Readable,
  onUnreadable: (message: string) => void = () => undefined,
): AsyncGenerator<string, void, undefined> {
  for (const input of inputs) {
    if (input === stdinInput) {
      for await (const line of createInterface({ input: stdin, crlfDelay: Infinity })) {
        if (line !== '') yield path.normalize(line);
      }
      continue;
    }
    const given = await interpret(input);
    if ('file' in given) yield path.normalize(given.file);
    else for await (const file of walk(given.folder, onUnreadable)) if (given.matches(file)) yield file;
  }
}

async function* walk(folder: string, onUnreadable: (message: string) => void): AsyncGenerator<string, void, undefined> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    onUnreadable(`cannot read the folder: ${messageOf(cause)}`);
    return [];
  });
  // By code units: the same order on every machine, whatever its locale.
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(file, onUnreadable);
    else if (isImage(file) && (entry.isFile() || (await isFile(file)))) yield file;
  }
}

/** Whether a link leads to a file, or to nothing: then its image is one that cannot be read. */
async function isFile(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined);
  return found?.isFile() ?? true;
}
