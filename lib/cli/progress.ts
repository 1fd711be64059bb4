import { SingleBar } from 'cli-progress';
import { environment } from '../util/environment';
import { printable } from './printable';

/** Brackets, percentage and spaces around the bar, and the cursor's column. */
const around = 11;

/** The steps of all images of a call as one bar on stderr; nothing where that is no terminal or a dumb one, or none is wanted. */
export class StepBar {
  readonly #bar: SingleBar | undefined;
  readonly #label: string = '';
  #isShown = false;
  /** How far each image is, 0 to 1. */
  readonly #shares: number[] = [];

  constructor(
    label: string,
    private readonly images: number,
    isWanted: boolean,
  ) {
    const { isTTY, columns } = process.stderr;
    if (!isWanted || !isTTY || environment.isDumbTerminal) return;
    const room = (columns || 80) - around;
    const barsize = Math.max(4, Math.min(40, Math.floor(room / 2)));
    this.#label = shortened(printable(label), room - barsize);
    this.#bar = new SingleBar({
      format: '{label} [{bar}] {percentage} %',
      barsize,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      gracefulExit: false, // it would swallow SIGTERM; who shows the bar clears it
    });
  }

  /** Image `index` has done `step` of its `steps`. */
  update(index: number, step: number, steps: number): void {
    if (!this.#isShown) this.#bar?.start(this.images, 0, { label: this.#label });
    this.#isShown = true;
    this.#shares[index] = step / steps;
    this.#bar?.update(this.#shares.reduce((sum, share) => sum + share, 0));
  }

  /** Image `index` is done or failed; the bar makes room for what is printed of it. */
  finish(index: number): void {
    this.#shares[index] = 1;
    this.clear();
  }

  /** Takes it off the screen, and shows the cursor; the next update brings it back. */
  clear(): void {
    if (this.#isShown) this.#bar?.stop();
    this.#isShown = false;
  }
}

/** The end of `text`, where a file's own name stands, in so many columns. */
function shortened(text: string, columns: number): string {
  return text.length <= columns ? text : `…${text.slice(text.length - Math.max(0, columns - 1))}`;
}
