import test, { type ExecutionContext } from 'ava';

/** `test`, where `isThere`; elsewhere a skipped test whose title says what it needs. */
export function needs(isThere: boolean, what: string) {
  return (title: string, implementation: (t: ExecutionContext) => void | Promise<void>): void => {
    if (isThere) test(title, implementation);
    else test.skip(`${title} (needs ${what})`, implementation);
  };
}
