// One contender in a process of its own, so that peaks of memory are its own. It is started with
// TYPE P N V THREADS LOGITS RESULTS, reads the logits, runs once, writes S [P, N, N] (float32) and the rewards [P]
// (float64) to RESULTS, and prints a line: `First`. Then it reads numbers of repetitions, a line each, and prints a line
// for each: an array of `Stages`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** Seconds of one repetition. */
export interface Stages {
  /** Softmax of every row, and S. */
  similarity: number;
  /** μ, σ and r_edit of every state. */
  reward: number;
  /** A token for each row. */
  draw: number;
  whole: number;
}

/** What the first repetition took, and the versions it ran with. */
export interface First {
  first: Stages;
  /** The peak of resident memory over what was resident with the logits loaded; null where the system does not tell. */
  extraBytes: number | null;
  /** Of the engine alone: what it allocates for a step. */
  workspaceBytes?: number;
  about: Record<string, string>;
}

/** The shape [P, N, V] of the logits, their type, and how many threads may work on them. */
export interface Case {
  shape: [states: number, positions: number, vocab: number];
  type: 'float32' | 'float16';
  threads: number;
}

export class Contender {
  private constructor(
    private readonly child: ReturnType<typeof start>,
    private readonly lines: AsyncIterator<string>,
    readonly first: First,
  ) {}

  static async start(command: string[], run: Case, logits: string, results: string): Promise<Contender> {
    const { shape, type, threads } = run;
    const child = start([...command, type, ...shape.map(String), String(threads), logits, results]);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return new Contender(child, lines, (await nextLine(lines, command)) as First);
  }

  async run(repetitions: number): Promise<Stages[]> {
    this.child.stdin.write(`${repetitions}\n`);
    return (await nextLine(this.lines, this.child.spawnargs)) as Stages[];
  }

  async end(): Promise<void> {
    const exited = this.child.exitCode === null ? once(this.child, 'exit') : undefined;
    this.child.stdin.end();
    await exited;
  }
}

function start([file = '', ...args]: string[]) {
  return spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function nextLine(lines: AsyncIterator<string>, command: string[]): Promise<unknown> {
  const line = await lines.next();
  if (line.done === true) throw new Error(`${command.join(' ')} ended`);
  return JSON.parse(line.value);
}
