import { FkinvError, messageOf } from '../errors';
import type { TraceStep } from '../inversion';

/** Why an image was left before it had a result: what its signal was aborted with, or what its `onStep` threw. */
export class Ended {
  constructor(readonly reason: unknown) {}
}

/**
 * What each image of a cohort that `error` has stopped comes to. An error of a known kind is its result; a disposal, and what is
 * no FkinvError, ends it and rejects its call.
 */
export function failureOf(error: unknown): FkinvError | Ended {
  if (!(error instanceof FkinvError)) return new Ended(new FkinvError('INTERNAL', messageOf(error), { cause: error }));
  return error.code === 'DISPOSED' ? new Ended(error) : error;
}

/**
 * Tells a caller of an image's steps, and the sampler of what the caller ends it with. Nothing waits for `onStep`: while a
 * call of it is pending the newest step is kept for it, and those between are left out.
 */
export class Listener {
  #ended: Ended | undefined;
  #isDone = false;
  #isTelling = false;
  #newest: TraceStep | undefined;
  /** Called as soon as the image is ended. */
  onEnded: () => void = () => undefined;
  /** Called with the reason as soon as the sampler leaves the image out: its cohort, which goes on without it, may take long. */
  onLeftOut: (why: FkinvError | Ended) => void = () => undefined;

  constructor(private readonly onStep?: (step: TraceStep) => unknown) {}

  /** The reason that the image was ended with: by its caller, or, where it failed, with the error that is its result. */
  get ended(): Ended | undefined {
    return this.#ended;
  }

  /** Ends the image, unless it is over: the first reason counts. */
  end(reason: unknown): void {
    if (this.#isDone || this.#ended !== undefined) return;
    this.#ended = new Ended(reason);
    this.#newest = undefined;
    this.onEnded();
  }

  /** Throws the reason that the image was ended with, if it was. */
  throwIfAborted(): void {
    if (this.#ended !== undefined) throw this.#ended.reason;
  }

  /** Says that the image has its result: a step that is kept is still told, and what `onStep` throws from here on is ignored. */
  done(): void {
    this.#isDone = true;
  }

  /** Tells of `step`, in a copy that is the caller's. What `onStep` throws ends the image. */
  hear(step: TraceStep): void {
    if (this.onStep === undefined || this.#ended !== undefined) return;
    this.#newest = structuredClone(step);
    if (!this.#isTelling) void this.#tell(this.onStep);
  }

  async #tell(onStep: (step: TraceStep) => unknown): Promise<void> {
    this.#isTelling = true;
    try {
      while (this.#newest !== undefined) {
        const step = this.#newest;
        this.#newest = undefined;
        await onStep(step);
      }
    } catch (thrown) {
      this.end(thrown);
    }
    this.#isTelling = false;
  }
}
