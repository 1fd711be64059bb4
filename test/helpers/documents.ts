// The documents people read, and the code blocks in them.
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export const root = path.join(__dirname, '..', '..');

/** Every Markdown file of the project but those that are generated. */
export const documents = ['.', 'docs'].flatMap((folder) =>
  readdirSync(path.join(root, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.posix.join(folder, name)),
);

export const read = (document: string): string => readFileSync(path.join(root, document), 'utf8');

/** A fenced code block. */
export interface Block {
  language: string;
  code: string;
  /** Of the heading it stands under. */
  heading: string;
  line: number;
  /** What the text block right under it says that it prints. */
  output?: string;
  /** The file that `<!-- run by … -->` above it names. */
  runBy?: string;
}

const fence = /^```(\w*)\n((?:(?!```)[^])*?)^```$/gm;

/** The blocks of a document, a printed text with the block that prints it. */
export function blocksOf(document: string): Block[] {
  const text = read(document);
  const blocks: Block[] = [];
  let end = 0;
  for (const { 0: whole, 1: language = '', 2: code = '', index } of text.matchAll(fence)) {
    const before = text.slice(0, index);
    const last = blocks.at(-1);
    if (language === 'text' && last !== undefined && text.slice(end, index).trim() === '') {
      last.output = code;
    } else {
      const heading = [...before.matchAll(/^#+ (.+)$/gm)].at(-1)?.[1] ?? '';
      const runBy = /<!-- run by (\S+) -->\s*$/.exec(before)?.[1];
      const line = before.split('\n').length;
      blocks.push({ language, code, heading, line, ...(runBy !== undefined && { runBy }) });
    }
    end = index + whole.length;
  }
  return blocks;
}

/** The blocks under one heading. */
export function blocksUnder(document: string, heading: string): Block[] {
  const blocks = blocksOf(document).filter((block) => block.heading === heading);
  if (blocks.length === 0) throw new Error(`${document} has no code under “${heading}”`);
  return blocks;
}

const decimal = /\d+\.\d+/g;

/**
 * `output` with those numbers as `shown` has them that differ by no more than one in the last place: the last bits of what
 * a model gives depend on the processor.
 */
export function asShown(output: string, shown: string): string {
  const numbers = [...shown.matchAll(decimal)].map(([number]) => number);
  let next = 0;
  return output.replaceAll(decimal, (number) => {
    const other = numbers[next++] ?? '';
    const [, decimals = ''] = number.split('.');
    const isNear = Math.abs(Number(other) - Number(number)) < 1.5 * 10 ** -decimals.length;
    return other.length === number.length && isNear ? other : number;
  });
}

/** The name that the first line of a block gives its file, `// server.mjs` for one. */
export const fileNameOf = ({ code }: Block): string | undefined => /^\/\/ ([\w./-]+\.\w+)\n/.exec(code)?.[1];

/** Writes those of `blocks` that name their file into `folder`. */
export function writeFiles(blocks: Block[], folder: string): void {
  for (const block of blocks) {
    const name = fileNameOf(block);
    if (name === undefined) continue;
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, block.code);
  }
}

/** An empty folder inside the package, where its own name leads to it, with the example images and the models. */
export function makeWorkspace(name: string): string {
  const folder = path.join(root, 'build', 'docs', name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const each of ['examples', 'models']) symlinkSync(path.join(root, each), path.join(folder, each));
  return folder;
}
