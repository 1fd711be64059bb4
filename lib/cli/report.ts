import { FkinvError, messageOf } from '../errors';
import { coloursOf } from './colours';
import { jsonLine, printable } from './printable';

/** Exit codes of every command. */
export const exitCodes = {
  /** Everything asked for was done. */
  done: 0,
  /** An image or a model failed; the other images were done. */
  failed: 1,
  /** Wrong usage: an unknown flag, a value out of its range, no image. */
  usage: 2,
  /** Interrupted by Ctrl-C. */
  interrupted: 130,
} as const;

/** Codes of an error that is of what was asked for, and of no image or model. */
const usageCodes = new Set(['INVALID_OPTION', 'TEMPLATE_INVALID', 'IDENTICAL_PARTICLES', 'BATCH_TOO_LARGE']);

/** The exit code of a command that failed with `error` as a whole. */
export function exitCodeOf(error: unknown): number {
  return error instanceof FkinvError && usageCodes.has(error.code) ? exitCodes.usage : exitCodes.failed;
}

/** One line on stderr, `where` first; with `verbose` the stack and what caused it. */
export function reportError(error: unknown, verbose: boolean, where?: string): void {
  const code = error instanceof FkinvError ? ` (${error.code})` : '';
  const oneLine = messageOf(error).replaceAll(/\s*\n\s*/g, ' ');
  const place = where === undefined || oneLine.startsWith(where) ? '' : `${where}: `;
  process.stderr.write(`${coloursOf(process.stderr).red('error:')} ${printable(place + oneLine)}${code}\n`);
  if (!verbose) return;
  for (let at = error; at instanceof Error; at = at.cause) {
    const lines = (at.stack ?? at.message).split('\n');
    process.stderr.write(`${lines.map(printable).join('\n')}\n`);
  }
}

/** Writes a warning to stderr, in one line. */
export function reportWarning(warning: string): void {
  process.stderr.write(`${coloursOf(process.stderr).yellow('warning:')} ${printable(warning)}\n`);
}

/** Prints `value` as a line of JSON. */
export function printLine(value: object): void {
  process.stdout.write(jsonLine(value));
}
