import { lstat, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { outputFailed } from '../files/disk';
import { checkRegular, replaceFile, type FileKind } from '../files/write-file';
import { isImage } from './formats';
import type { ImageRecord } from './record';

/** What is done where there is a side-car already. */
export const existingModes = ['skip', 'overwrite', 'append', 'prepend'] as const;

/** One of {@link existingModes}. */
export type Existing = (typeof existingModes)[number];

const kind: FileKind = {
  name: 'side-car',
  remedy: 'move it away, or leave --sidecars out',
  isOwn: () => true, // --existing says what is done with a file of somebody else
  goesToStreams: false,
};

/** How many folders' names are remembered: images come folder by folder, so few are enough. */
const mostFolders = 8;

/** The prompts in text files beside the images, `cat.txt` of `cat.jpg`. */
export class Sidecars {
  readonly #folders = new Map<string, SidecarNames>();

  constructor(private readonly existing: Existing) {}

  /** Whether the image is not inverted, since it has a side-car and `existing` is `skip`. */
  async isKept(image: string): Promise<boolean> {
    return this.existing === 'skip' && (await this.#exists(image));
  }

  /** Whether a side-car is written before its record: true where writing it again after a crash leaves the prompt in it once. */
  get comesFirst(): boolean {
    return this.existing !== 'skip';
  }

  /** Writes the side-car of a record, whole or not at all. Throws `OUTPUT_FAILED`. */
  async write(record: ImageRecord): Promise<void> {
    if ('error' in record) return;
    const file = await this.#fileOf(record.image);
    await checkRegular(file, kind.remedy); // a pipe would be read for ever
    const before = this.existing === 'append' || this.existing === 'prepend' ? await textOf(file) : '';
    const text = this.#joined(before, record.prompt);
    await replaceFile(file, kind, `${text}\n`);
  }

  /** Writes the side-cars that images with records lack, since a crash came between the two. */
  async complete(records: readonly ImageRecord[]): Promise<void> {
    if (this.comesFirst) return;
    for (const record of records) if (!(await this.#exists(record.image))) await this.write(record);
  }

  #joined(before: string, prompt: string): string {
    if (before === '' || before === prompt) return prompt;
    if (this.existing === 'append') return before.endsWith(`, ${prompt}`) ? before : `${before}, ${prompt}`;
    return before.startsWith(`${prompt}, `) ? before : `${prompt}, ${before}`;
  }

  async #exists(image: string): Promise<boolean> {
    // A link that leads to nothing counts as a file, so that nothing is written where it leads to.
    return lstat(await this.#fileOf(image)).then(
      () => true,
      () => false,
    );
  }

  async #fileOf(image: string): Promise<string> {
    const { dir, base } = path.parse(image);
    return path.join(dir, (await this.#namesOf(dir)).of(base));
  }

  async #namesOf(folder: string): Promise<SidecarNames> {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const entries = await readdir(folder || '.').catch((): string[] => []);
    const names = new SidecarNames(entries.filter(isImage));
    for (const [oldest] of this.#folders) if (this.#folders.size >= mostFolders) this.#folders.delete(oldest);
    this.#folders.set(folder, names);
    return names;
  }
}

/**
 * A name for the side-car of each of a folder's images, no two alike: `cat.txt` of the first `cat.…`, in the order of code
 * units; of another `cat.png` then `cat.png.txt`, or `cat.png.2.txt` where that is taken, as it is of a `cat.png.png`. Names that
 * differ in case alone are alike, as they are one file on many disks: a folder's side-cars are called the same on all of them.
 */
class SidecarNames {
  readonly #names = new Map<string, string>();
  readonly #taken = new Set<string>();

  constructor(images: readonly string[]) {
    const sorted = [...images].sort((a, b) => (a < b ? -1 : 1));
    const others = sorted.filter((image) => !this.#take(image, path.parse(image).name));
    for (const image of others) this.of(image);
  }

  /** The name for the side-car of `image`, which may be one that was not in the folder when its names were given. */
  of(image: string): string {
    const names = [path.parse(image).name, image];
    for (let i = 2; !this.#names.has(image); i++) {
      if (!names.some((name) => this.#take(image, name))) names.push(`${image}.${i}`);
    }
    return this.#names.get(image) ?? '';
  }

  /** Gives `image` this name, unless another has it. */
  #take(image: string, name: string): boolean {
    const key = name.normalize('NFC').toLowerCase();
    if (this.#taken.has(key)) return false;
    this.#taken.add(key);
    this.#names.set(image, `${name}.txt`);
    return true;
  }
}

/** The text of a file without white space at its end; empty where there is no file. */
async function textOf(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) =>
    (cause as NodeJS.ErrnoException).code === 'ENOENT' ? '' : outputFailed('read', file)(cause),
  );
  return text.trimEnd();
}
