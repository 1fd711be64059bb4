import { exitCodes } from './report';

/** Signals that end the command in good order: what is done stays printed, the terminal is left as it was. */
const interrupts = ['SIGINT', 'SIGTERM'] as const;

/** What is on the screen while work is done. */
interface Shown {
  clear(): void;
}

/** Does `work`, which shows its progress on `bar`, and gives its exit code, or that of an interruption, which aborts its signal. */
export async function untilInterrupted(bar: Shown, work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const interrupt = new AbortController();
  const onInterrupt = (): void => {
    interrupt.abort();
    bar.clear(); // at once: a second signal ends the process
  };
  for (const signal of interrupts) process.once(signal, onInterrupt);
  try {
    return await work(interrupt.signal);
  } catch (error) {
    bar.clear();
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write('interrupted\n');
    return exitCodes.interrupted;
  } finally {
    for (const signal of interrupts) process.off(signal, onInterrupt);
  }
}

/** Does `work`: the first interruption has it finish what it has begun, by `stop`, and the second has it end, by `abort`. */
export async function untilInterruptedTwice(
  onStop: () => void,
  work: (stop: AbortSignal, abort: AbortSignal) => Promise<number>,
): Promise<number> {
  const stop = new AbortController();
  const abort = new AbortController();
  const onInterrupt = (): void => {
    if (stop.signal.aborted) abort.abort();
    else onStop();
    stop.abort();
  };
  for (const signal of interrupts) process.on(signal, onInterrupt);
  try {
    return await work(stop.signal, abort.signal);
  } finally {
    for (const signal of interrupts) process.off(signal, onInterrupt);
  }
}
