import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { FkinvError, type ErrorCode } from '../errors';
import { didYouMean } from './suggest';

/** Faults that one message names: a long list of numbers can have thousands. */
const mostFaults = 8;

/** `value` as `schema` has it, defaults filled in; otherwise an error that names the fields that do not fit. */
export function validate<S extends z.ZodType>(
  schema: S,
  value: unknown,
  what: string,
  code: ErrorCode = 'INVALID_OPTION',
): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.flatMap((issue) => {
    const messages = issue.code === 'unrecognized_keys' ? unknownKeys(schema, issue) : [issue.message];
    return messages.map((message) => (issue.path.length > 0 ? `${issue.path.join('.')}: ${message}` : message));
  });
  const named = faults.slice(0, mostFaults).join('; ');
  const more = faults.length > mostFaults ? `; and ${faults.length - mostFaults} more` : '';
  throw new FkinvError(code, `${what}: ${named}${more}`, { cause: parsed.error });
}

/** A message of each, with the keys of `schema` that were probably meant. */
function unknownKeys(schema: z.ZodType, { keys, path }: z.core.$ZodIssueUnrecognizedKeys): string[] {
  const known = path.length === 0 && schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
  return keys.map((key) => `unknown key "${key}"${didYouMean(key, known)}`);
}

/** A finite number between `min` and `max`, both allowed. */
export function number(min: number, max: number): z.ZodNumber {
  const range = `must be a number from ${min} to ${max}`;
  return z.number({ error: range }).min(min, range).max(max, range);
}

/** A whole number between `min` and `max`, both allowed. */
export function integer(min: number, max: number): z.ZodNumber {
  const exponent = Math.log2(max);
  const shown = exponent >= 30 && Number.isInteger(exponent) ? `2^${exponent}` : max;
  const range = `must be a whole number from ${min} to ${shown}`;
  return z.number({ error: range }).int(range).min(min, range).max(max, range);
}

/** Path of a file given as a path or a `file:` URL; undefined for anything else, such as a URL of another host. */
export function pathOf(file: unknown): string | undefined {
  if (typeof file === 'string') return file;
  if (!(file instanceof URL)) return undefined;
  try {
    return fileURLToPath(file);
  } catch {
    return undefined;
  }
}
