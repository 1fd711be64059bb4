/** Who waits for a signal, and the one listener that the signal has for all of them. */
interface Waiting {
  callbacks: Set<() => void>;
  listener: () => void;
}

const waiting = new WeakMap<AbortSignal, Waiting>();

/**
 * Calls `callback` when `signal` aborts; what it returns stops that. However many wait for a signal, it has one listener:
 * of more than ten Node warns as of a leak, and a server has one signal for many calls.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks, listener } = waiting.get(signal) ?? beginWaiting(signal);
  const own = (): void => callback(); // the same function may wait twice
  callbacks.add(own);
  return () => {
    if (!callbacks.delete(own) || callbacks.size > 0) return;
    signal.removeEventListener('abort', listener);
    waiting.delete(signal);
  };
}

function beginWaiting(signal: AbortSignal): Waiting {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    for (const callback of callbacks) callback();
  };
  signal.addEventListener('abort', listener);
  const all = { callbacks, listener };
  waiting.set(signal, all);
  return all;
}
