import type { Recording } from './recording';

/** Adds up milliseconds and calls by stage. Where a profile is being recorded, each call goes into the recording too. */
export class Stopwatch {
  readonly stages: Record<string, { ms: number; calls: number }> = {};
  /** Rows that the dLLM has run. */
  forwards = 0;
  readonly #start = performance.now();
  #lap: { name: string; start: number } | undefined;

  constructor(readonly recording?: Recording) {}

  /** Milliseconds since it was made. */
  get total(): number {
    return performance.now() - this.#start;
  }

  add(name: string, ms: number, calls = 1): void {
    const stage = (this.stages[name] ??= { ms: 0, calls: 0 });
    stage.ms += ms;
    stage.calls += calls;
  }

  /** Runs `f` as a part of stage `name`. */
  time<T>(name: string, f: () => T): T {
    const start = performance.now();
    const done = (): void => {
      this.add(name, performance.now() - start);
      this.recording?.add(name, start);
    };
    const result = f();
    if (result instanceof Promise) return result.finally(done) as T;
    done();
    return result;
  }

  /** Ends the lap under way, and begins another where it has a name. Laps are of a recording alone, and in no stage. */
  lap(name?: string): void {
    if (this.#lap !== undefined) this.recording?.add(this.#lap.name, this.#lap.start);
    this.#lap = name === undefined ? undefined : { name, start: performance.now() };
  }
}
