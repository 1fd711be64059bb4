// What models do to a text before its tokens: not all of it stands in their tokenizer.json.

/** A way to make a text ready for a tokenizer. */
export type CleanText = (text: string) => string;

/** Python's string.punctuation. */
const punctuation = /[!-/:-@[-`{-~]/g;

function joinWords(text: string): string {
  return text.trim().split(/\s+/).join(' ');
}

/** Letters that are one sign, and those as wide as a Chinese character or half as wide as a Japanese one. */
const unusualLetters = /[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06\u3000\uff01-\uffee]/g;
// eslint-disable-next-line no-control-regex
const invisible = /[\0-\u0008\u000b\u000e-\u001f\u007f\u206a-\u206f\ufeff\ufff9-\ufffc]/g;

/**
 * What ftfy does to the texts that people write: usual letters, composed ones, straight quotation marks, no control characters. What
 * it does beyond that to the texts that programs spoilt (encodings, HTML) has no part in a prompt.
 */
function fixed(text: string): string {
  return text
    .replace(unusualLetters, (letter) => letter.normalize('NFKC'))
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(invisible, '')
    .normalize('NFC');
}

/**
 * Makes every capital sigma the small one within words. Where the `tokenizers` library makes letters small it looks at each by itself,
 * JavaScript gives a sigma that ends a word a form of its own, and nothing else depends on its neighbours.
 */
export function usualSigma(text: string): string {
  return text.replaceAll('\u03a3', '\u03c3');
}

/** By the name that open_clip's tokenizer_kwargs.clean has for it, and by the class of a tokenizer of `transformers`. */
export const cleanText = {
  none: (text) => text,
  whitespace: (text) => joinWords(fixed(text)),
  lower: (text) => joinWords(fixed(text)).toLowerCase(),
  canonicalize: (text) => joinWords(fixed(text).replaceAll('_', ' ').replace(punctuation, '').toLowerCase()),
  SiglipTokenizer: (text) => joinWords(text.toLowerCase().replace(punctuation, '')),
  Siglip2Tokenizer: (text) => usualSigma(text).toLowerCase(),
} as const satisfies Record<string, CleanText>;
