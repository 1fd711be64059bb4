// What models do to a text before its tokens: not all of it stands in their tokenizer.json.

/** A way to make a text ready for a tokenizer. */
export type CleanText = (text: string) => string;

/** Python's string.punctuation. */
const punctuation = /[!-/:-@[-`{-~]/g;

function joinWords(text: string): string {
  return text.trim().split(/\s+/).join(' ');
}

/** What ftfy does to the texts that people write: composed letters, straight quotation marks. */
function fixed(text: string): string {
  return text
    .normalize('NFC')
    .replace(/[\u2018-\u201b]/g, "'")
    .replace(/[\u201c-\u201f]/g, '"');
}

/** By the name that open_clip's tokenizer_kwargs.clean has for it, and by the class of a tokenizer of `transformers`. */
export const cleanText = {
  none: (text) => text,
  whitespace: (text) => joinWords(fixed(text)),
  lower: (text) => joinWords(fixed(text)).toLowerCase(),
  canonicalize: (text) => joinWords(fixed(text).replaceAll('_', ' ').replace(punctuation, '').toLowerCase()),
  SiglipTokenizer: (text) => joinWords(text.toLowerCase().replace(punctuation, '')),
  // It lowers each letter by itself: a sigma that ends a word has no form of its own.
  Siglip2Tokenizer: (text) => Array.from(text, (letter) => letter.toLowerCase()).join(''),
} as const satisfies Record<string, CleanText>;
