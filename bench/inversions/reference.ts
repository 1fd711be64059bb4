import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { scenesFolder } from '../scenes';

/** What some images with the same batch took, an image, and what came of them. */
export interface Outcome {
  secondsAnImage: number;
  /** Means over the images. */
  rewardClip: number;
  rewardEdit: number;
}

export interface Job {
  /** Images, the first of the scenes. */
  count: number;
  /** Images in flight together. */
  batch: number;
  seed: number;
}

const folder = path.join(__dirname, '..', 'reference');

/** A Python that has what the reference needs: the one named, else the first of the usual two. */
export function findPython(named: string | undefined): string | undefined {
  const candidates = named === undefined ? ['python3', '/usr/bin/python3'] : [named];
  return candidates.find((python) => spawnSync(python, ['-c', 'import torch, numpy, PIL']).status === 0);
}

/** The reference (bench/reference) with a number of threads, in a process of its own that is started once. */
export class Reference implements AsyncDisposable {
  readonly #lines: AsyncIterator<string>;

  private constructor(
    private readonly process: ChildProcess,
    lines: AsyncIterable<string>,
  ) {
    this.#lines = lines[Symbol.asyncIterator]();
  }

  /** Starts it, and says what it runs on. */
  static async start(
    python: string,
    threads: number,
  ): Promise<{ reference: Reference; about: Record<string, string> }> {
    const args = [path.join(folder, 'rounds.py'), scenesFolder, String(threads)];
    const child = spawn(python, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const reference = new Reference(child, createInterface({ input: child.stdout }));
    return { reference, about: (await reference.#answer()) as Record<string, string> };
  }

  async measure(job: Job): Promise<Outcome> {
    this.process.stdin?.write(`${JSON.stringify(job)}\n`);
    return (await this.#answer()) as Outcome;
  }

  async #answer(): Promise<unknown> {
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('the reference ended: what it printed says why');
    return JSON.parse(line.value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = this.process.exitCode === null ? once(this.process, 'exit') : undefined;
    this.process.stdin?.end();
    await ended;
  }
}
