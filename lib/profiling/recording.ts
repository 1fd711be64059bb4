import { native, type NativeCopies, type NativeEngine, type NativeRecorder, type NativeSpan } from '../native/addon';
import { copyPurposes } from '../schemes';

/** A stretch of the event loop's own work, in milliseconds of performance.now(). */
export interface HostSpan {
  name: string;
  start: number;
  end: number;
}

/** What a profile is made of: the engine's spans, and those of the event loop, on one clock. It begins when it is made. */
export class Recording {
  readonly recorder: NativeRecorder = new native.Recorder();
  readonly start = performance.now();
  readonly spans: HostSpan[] = [];
  /** Bytes that the particles copied, by what they were for; all 0 until the particles are done. */
  copies = Object.fromEntries(copyPurposes.map((why) => [why, { toDevice: 0, toHost: 0 }])) as NativeCopies;
  waits = 0;

  /** A span of the event loop, which ends now. */
  add(name: string, start: number): void {
    this.spans.push({ name, start, end: performance.now() });
  }

  /** The spans of `engine`, which the recording was of, on the event loop's clock. */
  async takeEngineSpans(engine: NativeEngine): Promise<NativeSpan[]> {
    const spans = await this.recorder.take(engine);
    const ahead = clockAhead(this.recorder);
    return spans.map((span) => ({ ...span, start: span.start - ahead, end: span.end - ahead }));
  }
}

/** Milliseconds by which the recorder's clock is ahead of performance.now(): of a few readings the one that took least. */
function clockAhead(recorder: NativeRecorder): number {
  const readings = Array.from({ length: 9 }, () => {
    const before = performance.now();
    const there = recorder.now();
    const after = performance.now();
    return { took: after - before, ahead: there - (before + after) / 2 };
  });
  return readings.reduce((best, reading) => (reading.took < best.took ? reading : best)).ahead;
}
