import type { Finished } from '../inversion';
import type { Result } from './scheduler';
import type { Source } from './source';

/** What came of an image, or what ended it. */
type Outcome = { result: Result } | { reason: unknown };

/** An image that was read, and whose result is not given yet. */
interface Slot {
  index: number;
  outcome?: Outcome;
}

/** Reads the images of a call, at most `limit` ahead of the results that were given, and gives these in order or as they finish. */
export class Delivery {
  /** Images in the order in which their results are given: every open one, or without `ordered` those that have finished. */
  readonly #slots: Slot[] = [];
  /** How many images were read, and have not given their results. */
  #open = 0;
  #index = 0;
  #reading: Promise<void> | undefined;
  /** Set once the source has come to its end; with a `reason` where it failed. */
  #end: { reason?: unknown } | undefined;
  #wake: () => void = () => undefined;

  constructor(
    private readonly source: Source,
    private readonly invert: (item: unknown, index: number) => Promise<Result>,
    private readonly limit: number,
    private readonly ordered: boolean,
  ) {}

  /** The next result, undefined after the last. Throws what ended the call, once the results that are done were given. */
  async next(): Promise<Finished | undefined> {
    for (;;) {
      this.#fill();
      const [slot] = this.#slots;
      if (slot?.outcome !== undefined) {
        if ('reason' in slot.outcome) throw slot.outcome.reason;
        this.#slots.shift();
        this.#open--;
        this.#fill();
        return { index: slot.index, result: slot.outcome.result };
      }
      if (this.#end !== undefined && this.#open === 0) {
        if ('reason' in this.#end) throw this.#end.reason;
        return undefined;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Resolves when nothing that was begun goes on. */
  async settled(): Promise<void> {
    await this.#reading;
    while (this.#slots.some(({ outcome }) => outcome === undefined) || this.#open > this.#slots.length) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #fill(): void {
    if (this.#reading !== undefined || !this.#hasRoom()) return;
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined;
      this.#wake();
    });
  }

  #hasRoom(): boolean {
    return this.#end === undefined && this.#open < this.limit;
  }

  async #read(): Promise<void> {
    try {
      while (this.#hasRoom()) {
        const next = await this.source.next();
        if (next === undefined) this.#end = {};
        else this.#begin(next.item);
      }
    } catch (reason) {
      this.#end = { reason };
    }
  }

  #begin(item: unknown): void {
    const slot: Slot = { index: this.#index++ };
    this.#open++;
    if (this.ordered) this.#slots.push(slot);
    const settle = (outcome: Outcome): void => {
      slot.outcome = outcome;
      if (!this.ordered) this.#slots.push(slot);
      this.#wake();
    };
    this.invert(item, slot.index).then(
      (result) => settle({ result }),
      (reason: unknown) => settle({ reason }),
    );
  }
}
