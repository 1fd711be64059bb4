// A process of its own, in which models invert one picture in as few steps as they can: what it takes of memory is what any
// inversion with them takes. lib/examine/footprint.ts starts it.
import { readFileSync } from 'node:fs';
import { Inverter, type LoadOptions } from '../inverter';
import { FkinvError, messageOf, type ErrorCode } from '../errors';
import { picture } from './self-test';

/** What the process is asked to do. */
export type TrialTask = Pick<LoadOptions, 'device'> & { dllm: string; clip: string };

/** What came of it. */
export type TrialResult = { footprint: Footprint } | { error: string; code: ErrorCode };

/** Memory of a process that inverts pictures one at a time. */
export interface Footprint {
  particles: number;
  length: number;
  /** Bytes of the process's own, without what is mapped from files; on other systems than Linux with it. */
  bytes: number;
  /** The most bytes that were resident, mapped files included: most often while the models are loaded. */
  peakBytes: number;
}

async function trial({ dllm, clip, device }: TrialTask): Promise<Footprint> {
  await using inverter = await Inverter.load({
    dllm,
    clip,
    ...(device !== undefined && { device }),
    onWarning: () => undefined,
  });
  const { particles, length, blocks } = inverter.resolve({});
  await inverter.invert(picture, { steps: blocks, hints: 0 }); // a list of words is not embedded for a check
  return { particles, length, bytes: ownBytes(), peakBytes: 1024 * process.resourceUsage().maxRSS };
}

function ownBytes(): number {
  if (process.platform !== 'linux') return process.memoryUsage().rss;
  const [, kibibytes] = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return 1024 * Number(kibibytes);
}

// Who started it ends it, by closing the channel, once the result is there.
process.on('message', (task: TrialTask) => {
  const tell = (result: TrialResult): unknown => process.send?.(result);
  void trial(task).then(
    (footprint) => tell({ footprint }),
    (error: unknown) => tell({ error: messageOf(error), code: error instanceof FkinvError ? error.code : 'INTERNAL' }),
  );
});
