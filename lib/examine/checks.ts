import path from 'node:path';
import { FkinvError, errorCodes, messageOf, type ErrorCode } from '../errors';

/** What was found of one thing that was looked at. */
export interface Check {
  name: string;
  ok: boolean;
  /** What was found, or what is wrong. */
  detail: string;
  /** The code of the error, where it has one. */
  code?: ErrorCode;
  /** What to do; missing where all is well, and where it was not run because another failed. */
  remedy?: string;
}

/** A fault with a remedy of its own. */
export class Fault extends Error {
  constructor(
    message: string,
    readonly remedy: string,
    readonly code?: ErrorCode,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

type Work<T> = () => readonly [detail: string, value: T] | Promise<readonly [detail: string, value: T]>;

/** Looks at one thing after the other: what fails is written down, and the rest still runs. */
export class Examination {
  readonly checks: Check[] = [];

  get ok(): boolean {
    return this.checks.every(({ ok }) => ok);
  }

  /**
   * Runs `work`, which gives the detail and a value, unless one of the checks `needs` is not ok.
   * @returns the value; undefined where it failed or was not run
   */
  async run<T>(name: string, needs: readonly string[], work: Work<T>): Promise<T | undefined> {
    const missing = this.missing(needs);
    if (missing !== undefined) {
      this.skip(name, missing);
      return undefined;
    }
    try {
      const [detail, value] = await work();
      this.checks.push({ name, ok: true, detail });
      return value;
    } catch (error) {
      this.checks.push({ name, ok: false, ...describe(error) });
      return undefined;
    }
  }

  /** The first of the checks `needs` that is not ok. */
  missing(needs: readonly string[]): string | undefined {
    return needs.find((need) => !this.checks.some(({ name, ok }) => name === need && ok));
  }

  /** Writes down that `name` was not run, because `missing` is not ok. */
  skip(name: string, missing: string): void {
    this.checks.push({ name, ok: false, detail: `not run: ${missing} comes first` });
  }
}

function describe(error: unknown): Pick<Check, 'detail' | 'code' | 'remedy'> {
  const detail = messageOf(error)
    .trim()
    .replaceAll(/\s*\n\s*/g, ' ');
  if (error instanceof Fault) {
    return { detail, ...(error.code !== undefined && { code: error.code }), remedy: error.remedy };
  }
  const code = error instanceof FkinvError ? error.code : 'INTERNAL';
  return { detail, code, remedy: errorCodes[code] };
}

/** A path as people read it: from the working directory, where it is below that. */
export function fromHere(file: string): string {
  let here: string;
  try {
    here = process.cwd();
  } catch {
    return file; // the working directory was deleted
  }
  const relative = path.relative(here, file);
  if (relative === '') return '.';
  return relative.startsWith('..') || path.isAbsolute(relative) ? file : relative;
}
