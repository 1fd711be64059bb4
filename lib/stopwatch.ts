/** Milliseconds and calls by stage. */
export class Stopwatch {
  readonly stages: Record<string, { ms: number; calls: number }> = {};
  /** Of the dLLM. */
  forwards = 0;
  readonly #start = performance.now();

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
    const done = (): void => this.add(name, performance.now() - start);
    const result = f();
    if (result instanceof Promise) return result.finally(done) as T;
    done();
    return result;
  }
}
