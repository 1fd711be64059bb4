import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError, messageOf } from '../errors';

/** A word, or a few, that a picture may show. */
export interface HintWord {
  text: string;
  /** What it is a word for, such as `thing` or `style`; empty where nobody says. */
  kind: string;
}

/** The list that comes with the package: docs/hints.md says what is in it, and scripts/hint-words.mjs made it. */
const ownList = path.join(__dirname, '..', '..', 'models', 'hint-words.txt');

const mostBytes = 2 ** 22;
const mostWords = 50_000;
const longestWord = 100;

/**
 * The words of `given`, a file or a list, by default the package's own: each once, in their order. A line of a file is a word and, behind
 * a tab, its kind, if it has one; what follows a # at its start is a comment. Throws `INVALID_OPTION`.
 */
export async function readWords(given: string | readonly string[] = ownList): Promise<HintWord[]> {
  const where = typeof given === 'string' ? given : 'hintWords';
  const lines = typeof given === 'string' ? (await textOf(given)).split(/\r?\n/) : given;
  const words = new Map<string, HintWord>();
  for (const [i, line] of lines.entries()) {
    if (line.startsWith('#') || line.trim() === '') continue;
    const [text = '', kind = ''] = line.split('\t').map((part) => part.trim().replace(/\s+/gu, ' '));
    if (text === '' || text.length > longestWord || /\p{Cc}/u.test(text)) {
      refuse(`${where}: word ${i + 1} is not a text of 1 to ${longestWord} characters in one line`);
    }
    if (!words.has(text)) words.set(text, { text, kind });
  }
  if (words.size === 0) refuse(`${where} has no words: write one a line`);
  if (words.size > mostWords) refuse(`${where} has ${words.size} words, and at most ${mostWords} are taken`);
  return [...words.values()];
}

async function textOf(file: string): Promise<string> {
  const fail = (cause: unknown): never => refuse(`cannot read ${file} (${messageOf(cause)})`, cause);
  const stats = await stat(file).catch(fail);
  if (!stats.isFile()) refuse(`${file} is no file: name one with a word in each line`);
  if (stats.size > mostBytes) refuse(`${file} has ${stats.size} bytes, and a list of words at most ${mostBytes}`);
  return (await readFile(file, 'utf8').catch(fail)).replace(/^\ufeff/, '');
}

function refuse(what: string, cause?: unknown): never {
  throw new FkinvError('INVALID_OPTION', `hintWords: ${what.replace(/^hintWords: /, '')}`, { cause });
}

/** Words that tell nothing of what a phrase is about. */
const empty = new Set('a an and at by for from in of on or s the to with'.split(' '));

/**
 * What a phrase is about: its words in lower case, and what they may be the plurals of, as `tabby cats` and `cat` are both about cats.
 * English alone has such endings; of other languages each form stands for itself.
 */
export function lemmasOf(text: string): Set<string> {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return new Set(words.filter((word) => !empty.has(word)).flatMap(singulars));
}

/** WordNet's rules of detachment for nouns. */
const endings = [
  [/s$/, ''],
  [/(s|x|z|ch|sh)es$/, '$1'],
  [/men$/, 'man'],
  [/ies$/, 'y'],
] as const;

/** A word and, by those rules, all that it can be the plural of; what is no word does no harm. */
function singulars(word: string): string[] {
  const found = endings.map(([plural, singular]) => word.replace(plural, singular));
  return [word, ...found.filter((other) => other.length >= 3)];
}
