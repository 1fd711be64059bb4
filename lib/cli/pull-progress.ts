import { SingleBar } from 'cli-progress';
import type { PullProgress } from '../store/progress';
import { environment } from '../util/environment';
import { inUnits } from '../util/units';
import { printable } from './printable';
import { clockOf } from './table';

/** Milliseconds over which the rate is measured. */
const ratedMs = 5000;

/** A pull on stderr: a bar with rate and time left on a terminal, elsewhere a line for each file that is there. */
export class PullBar {
  readonly #bar: SingleBar | undefined;
  #isShown = false;
  /** When how many bytes were there, of late. */
  #moments: { time: number; bytes: number }[] = [];

  constructor(private readonly isWanted: boolean) {
    if (!isWanted || !process.stderr.isTTY || environment.isDumbTerminal) return;
    this.#bar = new SingleBar({
      format: '{label} [{bar}] {percentage} % {text}',
      barsize: 16,
      fps: 4,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      gracefulExit: false, // it would swallow SIGTERM; who shows the bar clears it
    });
  }

  update({ file, fileBytes, fileSize, bytes, size }: PullProgress): void {
    const isDone = fileBytes === fileSize;
    if (this.#bar === undefined) {
      if (isDone && this.isWanted) process.stderr.write(`fetched ${printable(file)}, ${inUnits(fileSize)}\n`);
      return;
    }
    const values = { label: printable(file.split('/').at(-1) ?? file), text: this.#text(bytes, size) };
    if (!this.#isShown) this.#bar.start(size, bytes, values);
    this.#isShown = true;
    this.#bar.setTotal(size);
    this.#bar.update(bytes, values);
  }

  /** Takes it off the screen, for a line that is printed; the next update brings it back. */
  clear(): void {
    if (this.#isShown) this.#bar?.stop();
    this.#isShown = false;
  }

  #text(bytes: number, size: number): string {
    const time = performance.now();
    if (bytes < (this.#moments.at(-1)?.bytes ?? 0)) this.#moments = []; // another list of files, or one that starts over
    this.#moments.push({ time, bytes });
    this.#moments = this.#moments.filter((moment) => moment.time >= time - ratedMs);
    const [first] = this.#moments;
    const rate = first === undefined || first.time === time ? 0 : ((bytes - first.bytes) / (time - first.time)) * 1000;
    const left = rate > 0 ? [`${inUnits(rate)}/s`, `${clockOf((size - bytes) / rate)} left`] : [];
    return [`of ${inUnits(size)}`, ...left].join(', ');
  }
}
