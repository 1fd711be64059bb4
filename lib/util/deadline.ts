import { createContext, Script, type Context } from 'node:vm';

// A regular expression that backtracks holds its thread for as long as it likes; of JavaScript's own means only vm's timeout
// ends it, which interrupts whatever is called below it, in this context too.

const script = new Script('work()');
let context: Context | undefined;

/**
 * What `work` returns; `late` where it takes longer than `milliseconds`, twice: once may be the fault of a process that was
 * stopped meanwhile. It costs a tenth of a millisecond.
 */
export function within<T, L>(milliseconds: number, work: () => T, late: L): T | L {
  for (let tries = 0; tries < 2; tries++) {
    try {
      return run(milliseconds, work);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    }
  }
  return late;
}

function run<T>(timeout: number, work: () => T): T {
  context ??= createContext({});
  context['work'] = work;
  try {
    return script.runInContext(context, { timeout }) as T;
  } finally {
    context['work'] = undefined;
  }
}
