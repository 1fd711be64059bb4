import { SingleBar } from 'cli-progress';
import { environment } from '../util/environment';
import { FkinvError, type ErrorCode } from '../errors';
import { jsonLine } from './printable';
import { reportError, reportWarning } from './report';
import { clockOf } from './table';

/** How the progress of a batch is shown: a bar where stderr is a terminal, else a line now and then; JSON lines; or not at all. */
export type ProgressForm = 'people' | 'json' | 'none';

/** Milliseconds between two updates of the bar, two lines for people, and two JSON lines. */
const intervals = { bar: 250, people: 10_000, json: 1000 };

/** Milliseconds of the latest results, whose rate is shown. */
const ratedMs = 60_000;

/** How far a batch is. */
export interface ProgressReport {
  /** Images that were inverted, that failed, and that needed neither. */
  done: number;
  failed: number;
  skipped: number;
  /** How many images there are; null while they are not counted, and where they cannot be. */
  total: number | null;
  /** Images a second that were inverted or failed, over the last minute. */
  imagesPerSecond: number;
  /** Seconds until all are done; null where the total or the rate is not known. */
  secondsLeft: number | null;
}

/** Shows the progress of a batch on stderr. */
export class BatchProgress {
  readonly report: ProgressReport = {
    done: 0,
    failed: 0,
    skipped: 0,
    total: null,
    imagesPerSecond: 0,
    secondsLeft: null,
  };
  #start = performance.now();
  /** When the latest results came, oldest first. */
  readonly #times: number[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #bar: SingleBar | undefined;
  #isShown = false;
  /** Images that the last line counted: while they are no more, there is no other line. */
  #lastCount = 0;

  constructor(readonly form: ProgressForm) {
    if (form !== 'people' || !process.stderr.isTTY || environment.isDumbTerminal) return;
    this.#bar = new SingleBar({
      format: '[{bar}] {text}',
      barsize: 24,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      gracefulExit: false, // it would swallow SIGTERM; who shows the bar clears it
    });
  }

  /** Begins to show it, as the first image comes. */
  start(): void {
    this.#start = performance.now();
    if (this.form === 'none') return;
    const interval = this.#bar === undefined ? intervals[this.form] : intervals.bar;
    this.#timer = setInterval(() => this.#show(), interval).unref();
  }

  warn(warning: string): void {
    if (this.form === 'json') {
      this.#writeJson({ warning });
      return;
    }
    this.makeRoom();
    if (this.form === 'people') reportWarning(warning);
  }

  /** Tells that `image` has failed, or something that is none. */
  fail(error: { code: string; message: string }, image?: string): void {
    const { code, message } = error;
    if (this.form === 'json') {
      this.#writeJson({ image, error: { code, message } });
      return;
    }
    this.makeRoom();
    if (this.form === 'people') reportError(new FkinvError(code as ErrorCode, message), false, image);
  }

  /** Counts one more image. */
  add(what: 'done' | 'failed' | 'skipped'): void {
    this.report[what]++;
    if (what !== 'skipped') this.#times.push(performance.now());
    this.#forget();
  }

  /** Drops what came too long ago for the rate. */
  #forget(): void {
    const since = performance.now() - ratedMs;
    while ((this.#times[0] ?? since) < since) this.#times.shift();
  }

  /** Shows the last update, and gives the images a second of the whole time. */
  finish(): number {
    this.stop();
    const { done, failed } = this.report;
    const rate = ((done + failed) / (performance.now() - this.#start)) * 1000;
    if (this.form === 'json') this.#writeReport({ ...this.report, imagesPerSecond: rate, secondsLeft: 0 });
    return rate;
  }

  /** Ends what is shown. */
  stop(): void {
    clearInterval(this.#timer);
    this.makeRoom();
  }

  /** Takes the bar off the screen, for a line that is printed; the next update brings it back. */
  makeRoom(): void {
    if (this.#isShown) this.#bar?.stop();
    this.#isShown = false;
  }

  #show(): void {
    this.#measure();
    if (this.form === 'json') {
      this.#writeReport(this.report);
    } else if (this.#bar === undefined) {
      const { done, failed, skipped } = this.report;
      if (done + failed + skipped > this.#lastCount) process.stderr.write(`${this.#text()}\n`);
      this.#lastCount = done + failed + skipped;
    } else {
      const { done, failed, skipped, total } = this.report;
      const text = this.#text();
      if (!this.#isShown) this.#bar.start(total ?? 1, 0, { text });
      this.#isShown = true;
      this.#bar.setTotal(total ?? 1);
      this.#bar.update(total === null ? 0 : done + failed + skipped, { text });
    }
  }

  #writeReport(report: ProgressReport): void {
    this.#writeJson({ ...report, imagesPerSecond: Number(report.imagesPerSecond.toFixed(3)) });
  }

  #writeJson(line: object): void {
    process.stderr.write(jsonLine(line));
  }

  #measure(): void {
    this.#forget();
    const since = Math.min(ratedMs, performance.now() - this.#start);
    const rate = (this.#times.length / since) * 1000;
    const { done, failed, skipped, total } = this.report;
    this.report.imagesPerSecond = rate;
    const left = total === null || rate === 0 ? null : Math.max(0, total - done - failed - skipped) / rate;
    this.report.secondsLeft = left === null ? null : Math.round(left);
  }

  #text(): string {
    const { done, failed, skipped, total, imagesPerSecond, secondsLeft } = this.report;
    const parts = [
      `${done + failed + skipped}${total === null ? '' : ` of ${total}`} images`,
      ...(failed > 0 ? [`${failed} failed`] : []),
      `${imagesPerSecond.toFixed(imagesPerSecond < 10 ? 2 : 0)}/s`,
      ...(secondsLeft === null ? [] : [`${clockOf(secondsLeft)} left`]),
    ];
    return parts.join(', ');
  }
}
