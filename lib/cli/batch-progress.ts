import { SingleBar } from 'cli-progress';
import { environment } from '../util/environment';
import { FkinvError, type ErrorCode } from '../errors';
import { reportError, reportWarning } from './report';

/** How the progress of a batch is shown: a bar where stderr is a terminal, else a line now and then; JSON lines; or not at all. */
export type ProgressForm = 'people' | 'json' | 'none';

/** Milliseconds between two updates of the bar, two lines for people, and two JSON lines. */
const intervals = { bar: 250, people: 10_000, json: 1000 };

/** The latest results that the rate is of. */
const ratedMs = 60_000;

/** How far a batch is. */
export interface Standing {
  /** Images that were inverted, that failed, and that needed neither. */
  done: number;
  failed: number;
  skipped: number;
  /** Of all inputs; null while they are not counted, and where they cannot be. */
  total: number | null;
  /** Of those that were inverted or failed in the last minute. */
  imagesPerSecond: number;
  /** Null where the total or the rate is not known. */
  secondsLeft: number | null;
}

/** The progress of a batch, on stderr. */
export class BatchProgress {
  readonly standing: Standing = { done: 0, failed: 0, skipped: 0, total: null, imagesPerSecond: 0, secondsLeft: null };
  #start = performance.now();
  /** When the latest results came, oldest first. */
  readonly #times: number[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #bar: SingleBar | undefined;
  #isShown = false;
  /** Images of the last line: where there are no more there is no other. */
  #told = 0;

  constructor(private readonly form: ProgressForm) {
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

  /** The first image comes: from here on it is shown. */
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
    this.#clear();
    if (this.form === 'people') reportWarning(warning);
  }

  /** An image has failed, or something that is none. */
  fail(error: { code: string; message: string }, image?: string): void {
    const { code, message } = error;
    if (this.form === 'json') {
      this.#writeJson({ image, error: { code, message } });
      return;
    }
    this.#clear();
    if (this.form === 'people') reportError(new FkinvError(code as ErrorCode, message), false, image);
  }

  /** So many more are done, failed or skipped. */
  add(what: 'done' | 'failed' | 'skipped'): void {
    this.standing[what]++;
    if (what !== 'skipped') this.#times.push(performance.now());
    this.#forget();
  }

  /** What came too long ago for the rate. */
  #forget(): void {
    const since = performance.now() - ratedMs;
    while ((this.#times[0] ?? since) < since) this.#times.shift();
  }

  /** The last update. Images a second of the whole time are given. */
  finish(): number {
    this.stop();
    const { done, failed } = this.standing;
    const rate = ((done + failed) / (performance.now() - this.#start)) * 1000;
    if (this.form === 'json') this.#writeStanding({ ...this.standing, imagesPerSecond: rate, secondsLeft: 0 });
    return rate;
  }

  /** Nothing is shown any more. */
  stop(): void {
    clearInterval(this.#timer);
    this.#clear();
  }

  /** Takes the bar off the screen, to make room for a line; the next update brings it back. */
  #clear(): void {
    if (this.#isShown) this.#bar?.stop();
    this.#isShown = false;
  }

  #show(): void {
    this.#measure();
    if (this.form === 'json') {
      this.#writeStanding(this.standing);
    } else if (this.#bar === undefined) {
      const { done, failed, skipped } = this.standing;
      if (done + failed + skipped > this.#told) process.stderr.write(`${this.#text()}\n`);
      this.#told = done + failed + skipped;
    } else {
      const { done, failed, skipped, total } = this.standing;
      const text = this.#text();
      if (!this.#isShown) this.#bar.start(total ?? 1, 0, { text });
      this.#isShown = true;
      this.#bar.setTotal(total ?? 1);
      this.#bar.update(total === null ? 0 : done + failed + skipped, { text });
    }
  }

  #writeStanding(standing: Standing): void {
    this.#writeJson({ ...standing, imagesPerSecond: Number(standing.imagesPerSecond.toFixed(3)) });
  }

  #writeJson(line: object): void {
    process.stderr.write(`${JSON.stringify(line)}\n`);
  }

  #measure(): void {
    this.#forget();
    const since = Math.min(ratedMs, performance.now() - this.#start);
    const rate = (this.#times.length / since) * 1000;
    const { done, failed, skipped, total } = this.standing;
    this.standing.imagesPerSecond = rate;
    const left = total === null || rate === 0 ? null : Math.max(0, total - done - failed - skipped) / rate;
    this.standing.secondsLeft = left === null ? null : Math.round(left);
  }

  #text(): string {
    const { done, failed, skipped, total, imagesPerSecond, secondsLeft } = this.standing;
    const parts = [
      `${done + failed + skipped}${total === null ? '' : ` of ${total}`} images`,
      ...(failed > 0 ? [`${failed} failed`] : []),
      `${imagesPerSecond.toFixed(imagesPerSecond < 10 ? 2 : 0)}/s`,
      ...(secondsLeft === null ? [] : [`${clockOf(secondsLeft)} left`]),
    ];
    return parts.join(', ');
  }
}

/** `1:02:03` of seconds. */
function clockOf(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
