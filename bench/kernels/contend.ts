// The contender's end of contender.ts's protocol, for those that run in Node.
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Case, First, Stages } from './contender';

export interface Outcome {
  seconds: Stages;
  /** [P, N, N] */
  similarity: Float32Array;
  /** [P] */
  rewards: Float64Array;
}

export type Logits = Float32Array | Uint16Array;

export interface Contestant {
  step: (logits: Logits) => Promise<Outcome>;
  /** A step that holds no more than it has to, where `step` holds more to time its stages: memory is measured over it. */
  once?: (logits: Logits) => Promise<undefined>;
}

/** `prepare` does what is done once, before the logits are read. */
export async function contend(about: First['about'], prepare: (run: Case) => Promise<Contestant>): Promise<void> {
  const [type, P, N, V, threads, from = '', to = ''] = process.argv.slice(2);
  const shape: Case['shape'] = [Number(P), Number(N), Number(V)];
  const run: Case = { shape, type: type === 'float16' ? 'float16' : 'float32', threads: Number(threads) };
  const { step, once } = await prepare(run);
  const logits = read(from, run);
  resetPeak();
  const before = peakBytes();
  const outcome = await (once ?? step)(logits);
  const after = peakBytes();
  const extraBytes = before === null || after === null ? null : after - before;
  const { seconds, similarity, rewards } = outcome ?? (await step(logits));
  writeFileSync(to, Buffer.concat([similarity, rewards].map((a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength))));
  console.log(JSON.stringify({ first: seconds, extraBytes, about } satisfies First));
  for await (const line of createInterface({ input: process.stdin })) {
    const repetitions: Stages[] = [];
    while (repetitions.length < Number(line)) repetitions.push((await step(logits)).seconds);
    console.log(JSON.stringify(repetitions));
  }
}

function read(file: string, { shape: [P, N, V], type }: Case): Logits {
  const logits = type === 'float32' ? new Float32Array(P * N * V) : new Uint16Array(P * N * V);
  const from = openSync(file, 'r');
  for (let at = 0; at < logits.byteLength;) {
    const bytes = readSync(from, logits, at, Math.min(logits.byteLength - at, 2 ** 26), null);
    if (bytes === 0) throw new Error(`${file} is too short`);
    at += bytes;
  }
  closeSync(from);
  return logits;
}

/** The most memory that was resident since resetPeak(); null where the system does not tell. */
function peakBytes(): number | null {
  if (process.platform !== 'linux') return null;
  const kilobytes = /^VmHWM:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return Number(kilobytes) * 1024;
}

function resetPeak(): void {
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5');
}
