import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import picomatch from 'picomatch';
import { FkinvError, messageOf } from '../errors';
import { isImage, isOther } from './formats';

// Which images are meant: folders, globs, files, and a list on stdin.

/** The input that stands for a list of files on stdin. */
export const stdinInput = '-';

/** How {@link imagesOf} reads a list on stdin, and what it is to tell. */
export interface InputOptions {
  /** Whether the files of a list stand between NULs, as `find -print0` writes them, and not on lines. */
  nullSeparated?: boolean;
  /** Called with the reason where a folder cannot be read, which is left out. */
  onUnreadable?: (message: string) => void;
  /** Called with an image of a format that is not decoded, which is left out. */
  onLeftOut?: (file: string) => void;
}

/** An input as a walk takes it: everything in a folder, what in it a glob matches, or one file. */
type Input = { folder: string; matches: (file: string) => boolean } | { file: string };

/** Throws `INVALID_OPTION` for an input that is no file, no folder and no glob of a folder that is there. */
export async function checkInputs(inputs: readonly string[], nullSeparated = false): Promise<void> {
  for (const input of inputs) if (input !== stdinInput) await interpret(input);
  const lists = inputs.filter((input) => input === stdinInput).length;
  if (lists > 1) throw new FkinvError('INVALID_OPTION', '- is given twice: the list on stdin is read once');
  if (nullSeparated && lists === 0) {
    throw new FkinvError('INVALID_OPTION', '--null: is of a list on stdin: give - for it');
  }
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
 * folder by folder (links to folders are not followed); files, and those of a list on stdin, whatever they are.
 */
export async function* imagesOf(
  inputs: readonly string[],
  stdin: Readable,
  { nullSeparated = false, onUnreadable, onLeftOut }: InputOptions = {},
): AsyncGenerator<string, void, undefined> {
  for (const input of inputs) {
    if (input === stdinInput) {
      for await (const file of listOf(stdin, nullSeparated)) if (file !== '') yield path.normalize(file);
      continue;
    }
    const walked = await interpret(input);
    if ('file' in walked) {
      yield path.normalize(walked.file);
      continue;
    }
    for await (const file of walk(walked.folder, onUnreadable)) {
      if (!walked.matches(file)) continue;
      if (isImage(file)) yield file;
      else onLeftOut?.(file);
    }
  }
}

/** The files that a list names. A byte order mark, which some editors put before a list, is no part of the first name. */
async function* listOf(list: Readable, nullSeparated: boolean): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder(); // it drops the byte order mark
  const separator = nullSeparated ? '\0' : '\n';
  const nameOf = (line: string): string => (nullSeparated ? line : line.replace(/\r$/, ''));
  let rest = '';
  for await (const chunk of list) {
    rest += decoder.decode(Buffer.from(chunk as Uint8Array | string), { stream: true });
    const lines = rest.split(separator);
    rest = lines.pop() ?? '';
    for (const line of lines) yield nameOf(line);
  }
  yield nameOf(rest + decoder.decode());
}

/** The images of a folder and of those in it, also of formats that are not decoded. */
async function* walk(
  folder: string,
  onUnreadable: InputOptions['onUnreadable'],
): AsyncGenerator<string, void, undefined> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    onUnreadable?.(`cannot read the folder: ${messageOf(cause)}`);
    return [];
  });
  // They are sorted by code units, which gives the same order on every machine, whatever its locale.
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(file, onUnreadable);
    else if ((isImage(file) || isOther(file)) && (entry.isFile() || (await isFile(file)))) yield file;
  }
}

/**
 * Whether a link leads to a file. One that leads to nothing counts as a file too, so that it is reported as an image that
 * cannot be read.
 */
async function isFile(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined);
  return found?.isFile() ?? true;
}
