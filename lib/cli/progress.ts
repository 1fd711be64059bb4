import { SingleBar } from 'cli-progress';

/** The steps of one inversion as a bar on stderr; nothing where that is no terminal. */
export class StepBar {
  readonly #bar: SingleBar | undefined;

  constructor(label: string) {
    if (!process.stderr.isTTY) return;
    this.#bar = new SingleBar({
      format: `${label} [{bar}] step {value}/{total}`,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
    });
    this.#bar.start(0, 0);
  }

  update(step: number, steps: number): void {
    this.#bar?.setTotal(steps);
    this.#bar?.update(step);
  }

  stop(): void {
    this.#bar?.stop();
  }
}
