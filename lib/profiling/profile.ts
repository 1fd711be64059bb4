import type { Inversion } from '../inversion';
import type { NativeSpan } from '../native/addon';
import type { CopyPurpose } from '../schemes';
import type { HostSpan, Recording } from './recording';

/** What {@link Inverter.profile} resolves to. Plain data: `JSON.stringify` keeps all of it, but takes no bigint as seed. */
export interface Profile {
  /** The inversion, the same as without a profile but for its timings. */
  inversion: Inversion;
  /** What it ran on: `cpu`, or a GPU as `cuda:0`. */
  device: string;
  /** Milliseconds from the call to its inversion: waiting for other calls is in them. */
  total: number;
  /** How those milliseconds divide; the parts sum up to them. */
  parts: ProfileParts;
  /** What the particles copied between host and device. */
  copies: ProfileCopies;
  /** How often the particles had the host wait for the device: twice a step, and a few times before and after the steps. */
  waits: number;
  /** What the machine can do at most, measured after the inversion. */
  limits: ProfileLimits;
  /** Each model and each kernel that ran, and the work on text and images; of each kind what took longest first. */
  entries: ProfileEntry[];
  /** Everything that was recorded, by the time it began. */
  events: ProfileEvent[];
}

/** Milliseconds by what they were spent on; their sum is the total. What a GPU did at the same time as the host is the first of them. */
export interface ProfileParts {
  /** Forwards of the models, on all threads at the same time, or on the GPU. */
  models: number;
  /** The kernels between them. */
  kernels: number;
  /** Tokens to text, and text to CLIP's ids. */
  text: number;
  /** Decoding the image. */
  image: number;
  /**
   * The rest: the sampler's own, and the ways between the event loop's thread and the engine's; `onStep`, where there is one. A GPU
   * had nothing to do in it.
   */
  rest: number;
}

/**
 * Bytes of the particles that were copied between host and device, by what they are for: what is set up before the first
 * step; in the steps token ids (and which state a particle is in), CLIP's ids of texts (and which text a guess has), rewards
 * (with log-weights and ESS) and ancestors; the result. On the CPU a copy within its memory.
 */
export type ProfileCopies = Record<CopyPurpose, CopiedBytes>;

/** Bytes one way and the other. */
export interface CopiedBytes {
  /** Bytes copied from the host to the device. */
  toDevice: number;
  /** Bytes copied from the device to the host. */
  toHost: number;
}

/** What the machine can do at most, measured with all threads of the engine together, or on the GPU. */
export interface ProfileLimits {
  /** Threads of the engine; 1 where it runs on a GPU. */
  threads: number;
  /** float32 operations a second: a multiplication and an addition are one each. */
  flopsPerSecond: number;
  /** Bytes a second read from memory; what lies in a cache may be read faster. */
  bytesPerSecond: number;
}

/** All calls of one model, kernel or work of the event loop. */
export interface ProfileEntry {
  /** `dLLM`, `CLIP text`, `CLIP vision`, `dLLM vision`; a kernel's name, as docs/kernels.md has it; a stage of {@link Timings}. */
  name: string;
  /** Which of the parts it belongs to. A model's calls are the runs of its rows, each on one thread, or one after the other on a GPU. */
  kind: 'model' | 'kernel' | 'text' | 'image';
  /** How often it ran. */
  calls: number;
  /**
   * Milliseconds of all calls; of a model, of all threads together. On a GPU, of models and kernels, by CUDA's events: from when it
   * comes to a call until it is done with it, the wait for the host included where it has nothing else to do. `upload` and
   * `download` take the host's time there, without its waiting for what comes before them.
   */
  total: number;
  /** Milliseconds: half of the calls took no longer. */
  median: number;
  /** Bytes that it read, each counted once a call; of a model its inputs, and not its weights. Null for text and images. */
  bytes: number | null;
  /** float32 operations by the kernel's formulas. Null where they are not known: models, text and images. */
  flops: number | null;
  /** Bytes a second while it ran. Null as `flops`, and where it was over before the clock moved. */
  bytesPerSecond: number | null;
  /** Operations a second while it ran. Null as `bytesPerSecond`. */
  flopsPerSecond: number | null;
  /**
   * The time that its bytes or its operations, whichever take longer, need at the limits, over the time it took. Above 1 where it
   * reads from a cache, or multiplies on tensor cores, as a GPU's `pass` does. Null as `bytesPerSecond`.
   */
  limitShare: number | null;
}

/** One span, on the one clock of all. Those on one thread lie within one another or apart. */
export interface ProfileEvent {
  /** The name that {@link ProfileEntry} has for it; step t is `step t`, t from 0 to T. */
  name: string;
  /**
   * `forward` holds the runs (`model`) of a graph on all its rows; `step` is one of the T + 1 steps; in a `wait` the host waits for
   * what a GPU was given.
   */
  kind: ProfileEntry['kind'] | 'forward' | 'step' | 'wait';
  /** `steps` and `event loop`, which share a thread; `engine`; `pool 1` and so on; `gpu` for what a GPU does, in its order. */
  thread: string;
  /** Milliseconds since the call. */
  start: number;
  /** Milliseconds. */
  duration: number;
  /** Bytes that this call read, counted as {@link ProfileEntry} counts them. */
  bytes: number | null;
  /** float32 operations of this call, counted as {@link ProfileEntry} counts them. */
  flops: number | null;
}

/**
 * @internal What was recorded while `inversion` was made, which ended `total` milliseconds after the recording began; `spans`
 * are the engine's.
 */
export function profileOf(
  recording: Recording,
  spans: NativeSpan[],
  total: number,
  inversion: Inversion,
  { device, limits }: Pick<Profile, 'device' | 'limits'>,
): Profile {
  const { start } = recording;
  const events = [
    ...recording.spans.flatMap((span) => hostEvent(span, start)),
    ...spans.map((span) => engineEvent(span, start)),
  ].sort((a, b) => a.start - b.start || b.duration - a.duration);
  return {
    inversion,
    device,
    total,
    parts: partsOf(events, total),
    copies: recording.copies,
    waits: recording.waits,
    limits,
    entries: entriesOf(events, limits),
    events,
  };
}

function hostEvent({ name, start, end }: HostSpan, zero: number): ProfileEvent[] {
  const at = { name, start: start - zero, duration: end - start, bytes: null, flops: null };
  if (name.startsWith('step ')) return [{ ...at, kind: 'step', thread: 'steps' }];
  if (name === 'encodeImage') return []; // its forwards are the engine's
  return [{ ...at, kind: name === 'decodeImage' ? 'image' : 'text', thread: 'event loop' }];
}

function engineEvent({ name, kind, thread, start, end, bytes, flops }: NativeSpan, zero: number): ProfileEvent {
  const of = ['gpu', 'event loop', 'engine'][thread + 1] ?? `pool ${thread - 1}`;
  return { name, kind, thread: of, start: start - zero, duration: end - start, bytes, flops };
}

/** The events that a part is made of. Where events of several parts overlap, the time counts for the part that is listed first. */
const partKinds = { models: 'forward', kernels: 'kernel', text: 'text', image: 'image' } as const;

function partsOf(events: ProfileEvent[], total: number): ProfileParts {
  const parts = { models: 0, kernels: 0, text: 0, image: 0, rest: 0 };
  const counted: ProfileEvent[] = [];
  let before = 0;
  for (const part of ['models', 'kernels', 'text', 'image'] as const) {
    counted.push(...events.filter(({ kind }) => kind === partKinds[part]));
    const covered = coveredBy(counted);
    parts[part] = covered - before;
    before = covered;
  }
  return { ...parts, rest: total - before };
}

/** Milliseconds in which one of `events` at least goes on. */
function coveredBy(events: ProfileEvent[]): number {
  let covered = 0;
  let until = -Infinity;
  for (const { start, duration } of [...events].sort((a, b) => a.start - b.start)) {
    const end = Math.max(until, start + duration);
    covered += end - Math.max(until, start);
    until = end;
  }
  return covered;
}

const kinds = ['model', 'kernel', 'text', 'image'] as const;

function entriesOf(events: ProfileEvent[], limits: ProfileLimits): ProfileEntry[] {
  return kinds.flatMap((kind) => {
    const calls = new Map<string, ProfileEvent[]>();
    for (const event of events.filter((each) => each.kind === kind)) {
      const ofName = calls.get(event.name);
      if (ofName === undefined) calls.set(event.name, [event]);
      else ofName.push(event);
    }
    return [...calls].map(([name, ofName]) => entryOf(name, kind, ofName, limits)).sort((a, b) => b.total - a.total);
  });
}

function entryOf(name: string, kind: ProfileEntry['kind'], calls: ProfileEvent[], limits: ProfileLimits): ProfileEntry {
  const total = sumOf(calls, ({ duration }) => duration) ?? 0;
  const bytes = sumOf(calls, (call) => call.bytes);
  const flops = sumOf(calls, (call) => call.flops);
  const entry = { name, kind, calls: calls.length, total, median: medianOf(calls), bytes, flops };
  if (bytes === null || flops === null || total === 0)
    return { ...entry, bytesPerSecond: null, flopsPerSecond: null, limitShare: null };
  const seconds = total / 1000;
  const needed = Math.max(bytes / limits.bytesPerSecond, flops / limits.flopsPerSecond);
  return {
    ...entry,
    bytesPerSecond: bytes / seconds,
    flopsPerSecond: flops / seconds,
    limitShare: needed / seconds,
  };
}

/** The sum of `value` over the calls; null where it is null for one of them. */
function sumOf(calls: ProfileEvent[], value: (call: ProfileEvent) => number | null): number | null {
  return calls.reduce<number | null>((sum, call) => {
    const one = value(call);
    return sum === null || one === null ? null : sum + one;
  }, 0);
}

function medianOf(calls: ProfileEvent[]): number {
  const durations = calls.map(({ duration }) => duration).sort((a, b) => a - b);
  return durations[Math.ceil(durations.length / 2) - 1] ?? NaN;
}
