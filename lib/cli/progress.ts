import { SingleBar } from 'cli-progress';

/** The steps of all images of a call as one bar on stderr; nothing where that is no terminal. */
export class StepBar {
  readonly #bar: SingleBar | undefined;
  #isShown = false;
  /** Of each image, 0 to 1. */
  readonly #shares: number[] = [];

  constructor(
    label: string,
    private readonly images: number,
  ) {
    if (!process.stderr.isTTY) return;
    this.#bar = new SingleBar({
      format: `${label} [{bar}] {percentage} %`,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
    });
  }

  /** Image `index` has done `step` of its `steps`. */
  update(index: number, step: number, steps: number): void {
    if (!this.#isShown) this.#bar?.start(this.images, 0);
    this.#isShown = true;
    this.#shares[index] = step / steps;
    this.#bar?.update(this.#shares.reduce((sum, share) => sum + share, 0));
  }

  /** Takes it off the screen, for what is printed; the next update shows it again. */
  clear(): void {
    if (this.#isShown) this.#bar?.stop();
    this.#isShown = false;
  }
}
