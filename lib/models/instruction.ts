import { FkinvError } from '../errors';
import type { DllmManifest } from './manifest';
import { hintsPlace, instructionPlace } from './places';
import type { Tokenizer } from './tokenizer';

/** A text of a manifest, or token ids. */
type Given = string | number[];

/** Ids that stand around the prompt positions of a row. */
export interface Around {
  prefix: number[];
  suffix: number[];
  /** What stands behind the ids of an image, where the model takes ids of one: between them and the prompt. */
  after: number[];
}

/** A manifest's texts around the prompt, in which an instruction to the model may have a place. */
export class Surroundings {
  /** Whether the texts have a place for an instruction. */
  readonly takeInstruction: boolean;
  /** Whether the instruction has a place for hints. */
  readonly takeHints: boolean;
  readonly #given: Record<keyof Around, Given>;
  readonly #instruction: { text: string; hints?: string | undefined };
  /** What stands there where nobody says otherwise: the manifest's own instruction, without hints. */
  readonly own: Around;

  constructor(
    { prefix, suffix, condition, instruction }: DllmManifest,
    private readonly tokenizer: Tokenizer,
  ) {
    const ofImage = typeof condition === 'object' && 'prefix' in condition ? condition.prefix : undefined;
    this.#given = { prefix, suffix, after: ofImage?.after ?? [] };
    this.#instruction = instruction ?? { text: '' };
    this.takeInstruction = instruction !== undefined;
    this.takeHints = instruction?.hints !== undefined;
    this.own = this.#encode(this.#instruction.text);
  }

  /**
   * The ids with `instruction` in place of the manifest's own where it is given, and with `hints` behind it. Both are words of people,
   * which are never read as special tokens. Throws `INVALID_OPTION` where they cannot be written as text.
   */
  with(instruction: string | undefined, hints: readonly string[] = []): Around {
    if (instruction === undefined && hints.length === 0) return this.own;
    const { text, hints: sentence = '' } = this.#instruction;
    const asked = instruction ?? text;
    if (hints.length === 0) return this.#encode(asked);
    // One space stands between the two, whether or not the manifest has it.
    return this.#encode(`${asked} ${sentence.trimStart().split(hintsPlace).join(hints.join(', '))}`);
  }

  #encode(instruction: string): Around {
    const encode = (given: Given): number[] =>
      typeof given === 'string' ? encodeAround(given, instruction, this.tokenizer) : given;
    const { prefix, suffix, after } = this.#given;
    return { prefix: encode(prefix), suffix: encode(suffix), after: encode(after) };
  }
}

/**
 * Ids of `template` with `instruction` in its places. Of the template's own text the special tokens are read as such; of the
 * instruction, which may be anybody's words, none is, not even one that only the two together make. Else the whole is encoded at
 * once, as the model was trained. Throws `INVALID_OPTION`.
 */
function encodeAround(template: string, instruction: string, tokenizer: Tokenizer): number[] {
  const encode = (text: string): number[] => tokenizer.encode(text, { specials: false });
  const pieces = template.split(instructionPlace);
  if (pieces.length === 1) return encode(template);
  const text = pieces.join(instruction);
  const cuts = cutsOf(text, placesOf(pieces, instruction.length), tokenizer);
  const ids = [0, ...cuts].flatMap((cut, i) => encode(text.slice(cut, cuts[i])));
  // What a tokenizer makes of a text before it looks for its tokens, such as lower case, is its own affair, so the ids are looked at too.
  const special = new Set(specialsOf(tokenizer).map(({ id }) => id));
  special.delete(tokenizer.unknownId ?? -1); // a word that the model does not know is no fault
  const read = (of: number[]): number[] => of.filter((id) => special.has(id));
  const taken = read(ids);
  const own = read(pieces.flatMap(encode));
  if (taken.length === own.length) return ids;
  const token = tokenizer.token(taken.find((id, i) => id !== own[i]) ?? -1);
  throw new FkinvError(
    'INVALID_OPTION',
    `instruction: ${JSON.stringify(instruction)} takes the special token ${token}, which is no text: use other words`,
  );
}

/** Where the instruction stands in the text that `pieces` are joined to by it. */
function placesOf(pieces: readonly string[], length: number): { start: number; end: number }[] {
  let start = 0;
  return pieces.slice(0, -1).map((piece) => {
    start += piece.length;
    const place = { start, end: start + length };
    start = place.end;
    return place;
  });
}

/** Where `text` is to be cut so that no piece has a special token that is in one of the `places`, or reaches into it. */
function cutsOf(text: string, places: { start: number; end: number }[], tokenizer: Tokenizer): number[] {
  const cuts = new Set<number>();
  for (const { content } of specialsOf(tokenizer)) {
    for (let at = text.indexOf(content); at !== -1; at = text.indexOf(content, at + 1)) {
      const end = at + content.length;
      const place = places.find((one) => at < one.end && end > one.start);
      if (place === undefined) continue;
      const first = String.fromCodePoint(content.codePointAt(0) ?? 0).length;
      if (first < content.length) cuts.add(Math.max(at + first, Math.min(place.start, end - 1)));
    }
  }
  return [...cuts].sort((a, b) => a - b);
}

/** The tokens that a tokenizer looks for before it splits a text, but those of white space, which are text. */
function specialsOf(tokenizer: Tokenizer): { id: number; content: string }[] {
  return tokenizer.addedTokens.filter(({ content }) => content.trim() !== '');
}
