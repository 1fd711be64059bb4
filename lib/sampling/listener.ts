import type { FkinvError } from '../errors';
import type { TraceStep } from '../inversion';

/** Who hears of an image's steps, and can end it. */
export interface Listener {
  signal: AbortSignal | undefined;
  /** Awaited after each of its steps; what it throws ends it. */
  onStep: ((step: TraceStep) => unknown) | undefined;
  /** Is told why it is left out as soon as it is: those that it shares forwards with may take long. */
  onEnd?: (why: FkinvError | Ended) => void;
}

/** Why an image was left before it had a result: what its signal was aborted with, or what its `onStep` threw. */
export class Ended {
  constructor(readonly reason: unknown) {}
}
