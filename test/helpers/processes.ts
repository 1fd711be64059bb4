// Scripts of test/fixtures/process, each a process of its own, so that a crash is an exit code here.
import { execFile } from 'node:child_process';
import path from 'node:path';
import type { ExecutionContext } from 'ava';

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** What it printed, each line parsed. */
  printed: unknown[];
  stderr: string;
}

const folder = path.join(__dirname, '..', 'fixtures', 'process');

/** Runs `node script args…`; `kill` sends SIGTERM once it has printed something. */
export function run(script: string, args: string[] = [], { gc = false, kill = false } = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const flags = gc ? ['--expose-gc'] : [];
    const child = execFile(
      process.execPath,
      [...flags, path.join(folder, script), ...args],
      { timeout: 60_000, killSignal: 'SIGKILL' },
      (_, stdout, stderr) => {
        const lines = stdout.split('\n').filter((line) => line !== '');
        const printed = lines.map((line) => JSON.parse(line) as unknown);
        resolve({ code: child.exitCode, signal: child.signalCode, printed, stderr });
      },
    );
    if (kill) child.stdout?.once('data', () => child.kill('SIGTERM'));
  });
}

export function endedWell(t: ExecutionContext, { code, signal, printed, stderr }: Ended, expected: unknown[]): void {
  t.deepEqual({ code, signal, printed, stderr }, { code: 0, signal: null, printed: expected, stderr: '' });
}
