import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { inspect, types } from 'node:util';
import { FkinvError, messageOf } from '../errors';
import type { ImageInput } from './image';

/** Characters of what was given that a message quotes: a path has fewer, a `data:` URL has millions. */
const mostQuoted = 200;

/** What was given, as a message names it. */
export function describe(image: ImageInput): string {
  if (typeof image === 'string') return abbreviated(image);
  return image instanceof URL ? abbreviated(image.href) : 'the image';
}

function abbreviated(text: string): string {
  return text.length <= mostQuoted ? text : `${text.slice(0, mostQuoted)}… (${text.length} characters)`;
}

/** What to do with an address that was given in place of a path, as the end of a message; empty where it is no address. */
function hintOf(address: string): string {
  if (/^data:/i.test(address))
    return ': decode it first, Buffer.from(url.split(",")[1], "base64"), and give the Buffer';
  if (!/^https?:/i.test(address)) return '';
  return ': fetch it first, Buffer.from(await (await fetch(url)).arrayBuffer()), and give the Buffer';
}

/** The error for what is no image in any of its forms. */
export function noImage(image: unknown): FkinvError {
  const what = types.isProxy(image)
    ? 'a Proxy: give what it stands for'
    : abbreviated(inspect(image, { depth: 0, maxArrayLength: 3, breakLength: Infinity }));
  const hint = image instanceof URL ? hintOf(image.href) : '';
  const forms = 'a path, a file: URL, a Buffer or { data, width, height, channels }';
  return new FkinvError('INVALID_OPTION', `image: must be ${forms}, not ${what}${hint}`);
}

/** The size of `file` in bytes; 0 where that cannot be found out, since opening the file then gives the better error. */
export async function sizeOf(file: string): Promise<number> {
  const facts = await stat(file).catch(() => undefined);
  return facts?.size ?? 0;
}

/**
 * The content of a regular file: of a pipe or a device there may be no end, so none is read.
 * @throws FkinvError `IMAGE_NOT_FOUND`, or `IMAGE_INVALID` for what is no regular file
 */
export async function readRegular(file: string): Promise<Buffer> {
  const fail = (cause: unknown): never => {
    const message = messageOf(cause).replaceAll(file === '' ? '\0' : file, abbreviated(file));
    throw new FkinvError('IMAGE_NOT_FOUND', `cannot read the image: ${message}${hintOf(file)}`, { cause });
  };
  // Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
  const flags = process.platform === 'win32' ? constants.O_RDONLY : constants.O_RDONLY | constants.O_NONBLOCK;
  const handle = await open(file, flags).catch(fail);
  try {
    const facts = await handle.stat().catch(fail); // the open file is asked, since its name can come to mean another
    if (facts.isDirectory()) return fail(new Error(`${file} is a directory`));
    if (!facts.isFile()) {
      const kind = facts.isFIFO() ? 'a pipe' : facts.isSocket() ? 'a socket' : 'a device';
      throw new FkinvError(
        'IMAGE_INVALID',
        `${abbreviated(file)} is ${kind}, not a regular file: give its bytes instead, to the command as - on standard input`,
      );
    }
    return await readWhole(handle, facts.size).catch(fail);
  } finally {
    await handle.close();
  }
}

/** At most `size` bytes, which the file had when it was opened: it may grow without end. */
async function readWhole(handle: FileHandle, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await handle.read(bytes, filled, Math.min(size - filled, 2 ** 30), filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** Formats that no decoder here reads, by their first bytes, and what to do. */
const unread: readonly [isIt: (start: string) => boolean, what: string][] = [
  [
    (start) => /^.{4}ftyp(heic|heix|hevc|hevx|heim|heis)/s.test(start),
    'a HEIC picture, whose codec is not read here: convert it to JPEG, with heif-convert or magick, or export it as "most compatible"',
  ],
  [
    (start) => start.startsWith('BM'),
    'a BMP picture, a format that is not read here: convert it to PNG, with magick or any viewer',
  ],
];

/** What a file is, and how to convert it, where its format is known but not read here. */
export function unreadFormat(bytes: Buffer): string | undefined {
  const start = bytes.toString('latin1', 0, 64);
  return unread.find(([isIt]) => isIt(start))?.[1];
}
