/**
 * Control characters, which a terminal would obey, and those that turn the direction of the text around: in a file's name they
 * could hide or forge what is printed.
 */
const obeyed = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** `text` as it may be shown on a terminal: what a terminal would obey is written as in a string of JSON, `\u001b`. */
export function printable(text: string): string {
  return text.replaceAll(obeyed, escaped);
}

/** `value` as a line of JSON, in which nothing stands that a terminal would obey: JSON itself leaves some of it as it is. */
export function jsonLine(value: object): string {
  // A seed over 2^53 − 1 is a bigint, which JSON has not: a text, as the flag takes it.
  const json = JSON.stringify(value, (_, field: unknown) => (typeof field === 'bigint' ? field.toString() : field));
  return `${json.replaceAll(obeyed, escaped)}\n`;
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
