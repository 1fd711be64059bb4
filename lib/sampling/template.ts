import { FkinvError, messageOf } from '../errors';
import type { Tokenizer } from '../models/tokenizer';

/** A template in a model's tokens: which positions of a prompt are fixed, and to what. */
export interface Template {
  /** N: positions, fixed and free. */
  length: number;
  /** [N] the fixed token of a position, -1 where it is free. */
  pinned: Int32Array;
  /** Free positions, ascending, whose token must be one of the tokenizer's `spacedIds`: a fixed text before them ends in that space. */
  afterSpace: number[];
  /** The fixed texts, in order, non-empty. A prompt of the template holds each verbatim. */
  fixed: string[];
}

/** A piece of a template as it is written: a free span of `size` positions, or fixed text. Texts are never adjacent. */
type Part = { character: number; size: number } | { character: number; text: string };

const free = -1;
const howTo = 'write [n] for n free positions, [[ for a literal [';

/**
 * Reads `template`: fixed text, `[n]` for a free span of n tokens, `[[` for a literal `[`. Each fixed text is encoded by
 * itself. Where one ends in a space before a span, the space is left to the span's first token, as the words of byte-level
 * vocabularies begin with theirs. `maxLength` is the most positions the model takes.
 * @throws FkinvError `TEMPLATE_INVALID`
 */
export function parseTemplate(template: string, tokenizer: Tokenizer, maxLength: number): Template {
  const parts = partsOf(template, maxLength);
  const pinned: number[] = [];
  const afterSpace: number[] = [];
  const fixed: string[] = [];
  for (const [i, part] of parts.entries()) {
    if ('size' in part) {
      pinned.push(...Array<number>(part.size).fill(free));
      continue;
    }
    const { text, character } = part;
    const leavesSpace = text.endsWith(' ') && i + 1 < parts.length;
    if (leavesSpace) expectSpaced(text, character, tokenizer);
    for (const id of encodeFixed(leavesSpace ? text.slice(0, -1) : text, character, tokenizer)) pinned.push(id);
    if (leavesSpace) afterSpace.push(pinned.length);
    fixed.push(text);
  }
  expectLength(pinned, maxLength);
  expectVerbatim(pinned, fixed, tokenizer);
  return { length: pinned.length, pinned: Int32Array.from(pinned), afterSpace, fixed };
}

function partsOf(template: string, maxLength: number): Part[] {
  const parts: Part[] = [];
  let character = 1;
  for (const [source] of template.matchAll(/\[\[|\[[^\]]*\]?|[^[]+/gu)) {
    const last = parts.at(-1);
    if (source.startsWith('[') && source !== '[[') {
      parts.push({ character, size: sizeOf(source, character, maxLength) });
    } else {
      const text = source === '[[' ? '[' : source;
      if (last !== undefined && 'text' in last) last.text += text;
      else parts.push({ character, text });
    }
    character += Array.from(source).length;
  }
  if (template === '') refuse(`it is empty: ${howTo}`);
  if (!parts.some((part) => 'size' in part)) refuse(`nothing in it is free: ${howTo}`);
  return parts;
}

/** The number n of a span that is written `[n]`. */
function sizeOf(source: string, character: number, maxLength: number): number {
  if (!source.endsWith(']')) refuse(`the [ at character ${character} is not closed: ${howTo}`);
  const size = /^\[[1-9][0-9]*\]$/u.test(source) ? Number(source.slice(1, -1)) : NaN;
  if (size <= maxLength) return size;
  return refuse(`${source} at character ${character} is not a whole number from 1 to ${maxLength}: ${howTo}`);
}

function encodeFixed(text: string, character: number, tokenizer: Tokenizer): number[] {
  const where = `${JSON.stringify(text)} at character ${character}`;
  const ids = encode(text, where, tokenizer);
  const special = ids.find((id) => tokenizer.specialIds.includes(id));
  if (special !== undefined) {
    refuse(`${where} takes the special token ${tokenizer.token(special)}, which is no text: use other words`);
  }
  const written = tokenizer.decode(ids);
  if (written !== text) {
    const as = written.normalize() === text.normalize() ? 'in another Unicode normal form' : JSON.stringify(written);
    refuse(`${where} comes out of the dLLM's tokenizer as ${as}: write it so`);
  }
  return ids;
}

function encode(text: string, where: string, tokenizer: Tokenizer): number[] {
  try {
    return tokenizer.encode(text, { specials: false });
  } catch (cause) {
    return refuse(`${where} cannot be written in the dLLM's tokens: ${messageOf(cause)}`, cause);
  }
}

function expectSpaced(text: string, character: number, tokenizer: Tokenizer): void {
  if (tokenizer.spacedIds.length > 0) return;
  refuse(
    `${JSON.stringify(text)} at character ${character} ends in a space, and no token of the dLLM begins with one: ` +
      'leave the space out, such a tokenizer puts its own between words',
  );
}

function expectLength(pinned: number[], maxLength: number): void {
  if (pinned.length <= maxLength) return;
  const spans = pinned.filter((id) => id === free).length;
  refuse(
    `it is ${pinned.length} tokens long, ${pinned.length - spans} of them fixed, and the model takes ${maxLength}: shorten it`,
  );
}

// What a text comes out as can depend on what stands beside it (decoders that move spaces), so the whole row is looked at
// with words in the spans.
function expectVerbatim(pinned: number[], fixed: string[], tokenizer: Tokenizer): void {
  const word = tokenizer.spacedIds.find((id) => /^ \p{L}/u.test(tokenizer.decode([id])));
  const text = tokenizer.decode(pinned.flatMap((id) => (id !== free ? [id] : word !== undefined ? [word] : [])));
  let from = 0;
  for (const piece of fixed) {
    const at = text.indexOf(piece, from);
    if (at === -1) {
      refuse(
        `${JSON.stringify(piece)} is not in what the dLLM's tokenizer makes of the whole, ${JSON.stringify(text)}: word it otherwise`,
      );
    }
    from = at + piece.length;
  }
}

function refuse(what: string, cause?: unknown): never {
  throw new FkinvError('TEMPLATE_INVALID', `template: ${what}`, cause === undefined ? {} : { cause });
}
