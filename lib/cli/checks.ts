import type { Check } from '../examine/checks';
import { coloursOf } from './colours';
import { printable } from './printable';

/** The checks as lines for people: a mark, the name, what was found; under one that failed, what to do. */
export function linesOf(checks: readonly Check[], indent = ''): string {
  const colours = coloursOf(process.stdout);
  const width = checks.reduce((widest, { name }) => Math.max(widest, name.length), 0);
  const lines = checks.flatMap(({ name, ok, detail, code, remedy }) => {
    const isSkipped = !ok && remedy === undefined;
    const mark = ok ? colours.green('✓') : isSkipped ? colours.dim('–') : colours.red('✗');
    const shown = isSkipped
      ? colours.dim(printable(detail))
      : `${printable(detail)}${code === undefined ? '' : ` (${code})`}`;
    const line = `${indent}${mark} ${name.padEnd(width)}  ${shown}`;
    return remedy === undefined
      ? [line]
      : [line, `${indent}  ${' '.repeat(width)}  ${colours.yellow(`→ ${printable(remedy)}`)}`];
  });
  return lines.map((line) => `${line}\n`).join('');
}
