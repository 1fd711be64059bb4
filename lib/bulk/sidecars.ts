import { lstat, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { outputFailed } from '../files/disk';
import { checkRegular, replaceFile, type FileKind } from '../files/write-file';
import { isImage } from './inputs';
import type { ImageRecord } from './record';

/** What is done where there is a side-car already. */
export const existingModes = ['skip', 'overwrite', 'append', 'prepend'] as const;

/** One of {@link existingModes}. */
export type Existing = (typeof existingModes)[number];

const kind: FileKind = {
  name: 'side-car',
  remedy: 'move it away, or leave --sidecars out',
  isOwn: () => true, // --existing says what is done with one of somebody else
  goesToStreams: false,
};

/** Folders whose names are remembered: images come folder by folder. */
const mostFolders = 8;

/** The prompts in text files beside the images, `cat.txt` of `cat.jpg`. */
export class Sidecars {
  readonly #folders = new Map<string, Map<string, string>>();

  constructor(private readonly existing: Existing) {}

  /** Whether the image is left alone, as there is one. */
  async isKept(image: string): Promise<boolean> {
    return this.existing === 'skip' && (await this.#exists(image));
  }

  /** Whether a side-car must be there before the record is: what it then holds is in it once, however often it is written. */
  get comesFirst(): boolean {
    return this.existing !== 'skip';
  }

  /** Writes that of a record, whole or not at all. Throws `OUTPUT_FAILED`. */
  async write(record: ImageRecord): Promise<void> {
    if ('error' in record) return;
    const file = await this.#fileOf(record.image);
    await checkRegular(file, kind.remedy); // a pipe would be read for ever
    const before = this.existing === 'append' || this.existing === 'prepend' ? await textOf(file) : '';
    const text = this.#joined(before, record.prompt);
    await replaceFile(file, kind, `${text}\n`);
  }

  /** Writes those of records that are done and have none, as a crash came between. */
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
    // A link that leads to nothing is something that is there: none is written where it leads to.
    return lstat(await this.#fileOf(image)).then(
      () => true,
      () => false,
    );
  }

  /** `cat.txt` of the first image of that name in its folder, by name; `cat.png.txt` of a `cat.png` beside a `cat.jpg`. */
  async #fileOf(image: string): Promise<string> {
    const { dir, name, base } = path.parse(image);
    const first = (await this.#firstOfName(dir)).get(name) ?? base;
    return path.join(dir, `${first === base ? name : base}.txt`);
  }

  async #firstOfName(folder: string): Promise<Map<string, string>> {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const names = await readdir(folder || '.').catch((): string[] => []);
    const first = new Map<string, string>();
    for (const base of names.filter(isImage).sort((a, b) => (a < b ? 1 : -1))) first.set(path.parse(base).name, base);
    for (const [oldest] of this.#folders) if (this.#folders.size >= mostFolders) this.#folders.delete(oldest);
    this.#folders.set(folder, first);
    return first;
  }
}

/** Its text, without an end of line; empty where there is none. */
async function textOf(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) =>
    (cause as NodeJS.ErrnoException).code === 'ENOENT' ? '' : outputFailed('read', file)(cause),
  );
  return text.trimEnd();
}
