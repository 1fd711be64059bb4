import { InvalidArgumentError } from 'commander';

/** A folder that a flag or an argument names; empty, as a variable of a shell that is not set, it is none. */
export function folderOf(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.');
  return text;
}
