import type { Profile, ProfileEvent } from './profile';

/** A trace in Chrome's Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing open once it is written as JSON. */
export interface ChromeTrace {
  /** Names of the process and its tracks, then the events by the time they began. */
  traceEvents: (ChromeMetadata | ChromeEvent)[];
  /** Unit in which times are shown; they are written in microseconds. */
  displayTimeUnit: 'ms';
}

/** The name of the process or of a track, or where the track stands among the others. */
export interface ChromeMetadata {
  /** Chrome's phase of an event that carries metadata. */
  ph: 'M';
  /** Which fact `args` gives. */
  name: 'process_name' | 'thread_name' | 'thread_sort_index';
  /** Number of the process: always 1. */
  pid: number;
  /** Number of the track; 0 is the process itself. */
  tid: number;
  /** The fact: the name, or the place. */
  args: {
    /** What the process or the track is called. */
    name?: string;
    /** Where the track stands, from 1 at the top. */
    sort_index?: number;
  };
}

/** A stretch of time on one track. */
export interface ChromeEvent {
  /** Chrome's phase of an event with a start and a duration. */
  ph: 'X';
  /** The event's name, as {@link ProfileEvent} has it. */
  name: string;
  /** The event's kind, as {@link ProfileEvent} has it. */
  cat: ProfileEvent['kind'];
  /** Number of the process: always 1. */
  pid: number;
  /** Number of the track; 0 is the process itself. */
  tid: number;
  /** Microseconds since the call. */
  ts: number;
  /** Microseconds that it took. */
  dur: number;
  /** What is known of the call; a fact that is not known is left out. */
  args: {
    /** Bytes read. */
    bytes?: number;
    /** Operations. */
    flops?: number;
  };
}

const pid = 1;

/** Tracks by the place at which they are shown; pool threads and a GPU come behind. */
const first = ['steps', 'event loop', 'engine'];

/**
 * A profile as a Chrome trace, a track for the steps, for the event loop's work on text and images, for the engine's thread
 * and for each thread of its pool, or for the GPU.
 * @param profile - What {@link Inverter.profile} resolved to.
 * @returns The trace; write it with `JSON.stringify`.
 */
export function chromeTrace(profile: Profile): ChromeTrace {
  const threads = [...new Set([...first, ...profile.events.map(({ thread }) => thread)])];
  const tidOf = new Map(threads.map((thread, i) => [thread, i + 1]));
  const metadata = threads.flatMap((thread, i): ChromeMetadata[] => [
    { ph: 'M', name: 'thread_name', pid, tid: i + 1, args: { name: thread } },
    { ph: 'M', name: 'thread_sort_index', pid, tid: i + 1, args: { sort_index: i + 1 } },
  ]);
  const events = profile.events.map(({ name, kind, thread, start, duration, bytes, flops }): ChromeEvent => ({
    ph: 'X',
    name,
    cat: kind,
    pid,
    tid: tidOf.get(thread) ?? 0,
    ts: start * 1000,
    dur: duration * 1000,
    args: { ...(bytes !== null && { bytes }), ...(flops !== null && { flops }) },
  }));
  const process: ChromeMetadata = { ph: 'M', name: 'process_name', pid, tid: 0, args: { name: 'fkinv-native' } };
  return { traceEvents: [process, ...metadata, ...events], displayTimeUnit: 'ms' };
}
