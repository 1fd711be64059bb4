import type { Replicas } from '../models/replicas';
import { FkinvError } from '../errors';
import type { Hints } from '../hints/hints';
import type { PictureMemory } from '../images/budget';
import type { Inversion } from '../inversion';
import type { Recording } from '../profiling/recording';
import { Ended, failureOf, type Listener } from '../sampling/listener';
import type { Models } from '../models/replicas';
import { onAbort } from '../util/abort';
import { invertTogether, prepare, type Job, type Prepared } from './together';

/** What an image gives: its inversion, or the error that it failed with. */
export type Result = Inversion | FkinvError;

/** A job from when it is added until its caller has the result. */
interface Ticket extends Job {
  call: Call;
  /** Tickets of equal keys can share forwards. */
  key: string;
  /** Set once its pictures are decoded. */
  prepared: Prepared | undefined;
  /** Whether its pictures take long to decode: then the images behind it no longer wait for it. */
  isSlow: boolean;
  resolve: (result: Result) => void;
  reject: (reason: unknown) => void;
}

/** An engine and what is in flight on it. */
interface Lane {
  models: Models;
  rows: number;
  /** The most rows in flight; each time that memory runs out it becomes half of what was in flight. */
  cap: number;
}

/** Images that go through their steps together. */
interface Cohort {
  lane: Lane;
  members: Ticket[];
  rows: number;
  /** Rows in flight on the lane when the cohort began, its own included. */
  inFlight: number;
  /** The lane's cap when the cohort began. */
  cap: number;
}

/** The limits of a call, and what may end it or record it. */
export interface CallOptions {
  /** The most rows in flight on an engine with its images among them. */
  rows: number;
  /** Ends all images of the call when it is aborted. */
  signal?: AbortSignal;
  /** The most images of calls with such a limit that wait for their turn; one more is refused. */
  maxQueue?: number;
  /** Records the one image of the call, which then runs on the first engine and shares no forward. */
  recording?: Recording;
}

/** One call's images: those that wait for their turn to be decoded, and those that are decoded ahead of theirs to be inverted. */
export class Call {
  static #profiles = 0;
  readonly waiting: Ticket[] = [];
  readonly ahead: Ticket[] = [];
  /** The listeners of its images that have no result yet. */
  readonly #listeners = new Set<Listener>();
  readonly #scheduler: Scheduler;
  readonly #stopWaiting: (() => void) | undefined;

  constructor(
    scheduler: Scheduler,
    readonly options: CallOptions,
  ) {
    this.#scheduler = scheduler;
    const { signal } = options;
    this.#stopWaiting = signal && onAbort(signal, () => this.#abort(signal.reason));
  }

  #abort(reason: unknown): void {
    for (const listener of this.#listeners) listener.end(reason);
    this.#scheduler.drop(this, reason);
  }

  /**
   * Inverts an image when its turn comes. What is wrong with the image is a result; it rejects with what ended the call,
   * its image or all.
   */
  async invert(job: Job): Promise<Result> {
    const { recording, rows, signal } = this.options;
    signal?.throwIfAborted();
    // Calls share forwards only where equally many rows may be in flight, so that each call's limit holds.
    const key = recording === undefined ? `${rows} ${job.options.key}` : `profile ${Call.#profiles++}`;
    this.#listeners.add(job.listener);
    try {
      return await new Promise((resolve, reject) => {
        this.#scheduler.add({ ...job, key, call: this, prepared: undefined, isSlow: false, resolve, reject });
      });
    } finally {
      this.#listeners.delete(job.listener);
    }
  }

  /** Says that no more images come, so that the call's signal need not be listened to any longer. */
  close(): void {
    this.#stopWaiting?.();
  }
}

/** Milliseconds of decoding after which the images behind one no longer wait for it: most are decoded long before. */
const patience = 1000;

/**
 * Spreads the images of all calls over the engines. Pictures are decoded ahead, as many as can be in flight and the memory for
 * them has room for. Images of equal options, from whichever calls, go through their steps together as a cohort. It has at most
 * half of the rows that an engine may have, so that there are two, and one has the engine while the other's texts are decoded. As
 * soon as one has its results the next begins in its place. Calls take turns, and nothing overtakes an image that has its turn
 * and waits for room.
 */
export class Scheduler {
  readonly #lanes: Lane[];
  /** Calls with images to be decoded, and calls with images that are decoded ahead: the one whose turn it is comes first. */
  readonly #toDecode = new Set<Call>();
  readonly #toInvert = new Set<Call>();
  #aheadRows = 0;
  /** How many images wait for their turn whose calls have a `maxQueue`. */
  #queued = 0;
  #ended: FkinvError | undefined;

  constructor(
    engines: Replicas,
    private readonly memory: PictureMemory,
    private readonly hints: Hints,
    private readonly warn: (message: string) => void,
  ) {
    this.#lanes = engines.all.map((models) => ({ models, rows: 0, cap: Infinity }));
  }

  add(ticket: Ticket): void {
    const refusal = this.#ended ?? this.#refusalOf(ticket);
    if (refusal !== undefined) {
      settle(ticket, new Ended(refusal));
      return;
    }
    this.#count(ticket, 1);
    ticket.call.waiting.push(ticket);
    this.#toDecode.add(ticket.call);
    this.#pump();
  }

  #refusalOf({ call }: Ticket): FkinvError | undefined {
    const { maxQueue = Infinity } = call.options;
    if (this.#queued < maxQueue) return undefined;
    const full = `${maxQueue} calls of invert wait for their turn already, which is what maxQueue of load allows`;
    return new FkinvError('QUEUE_FULL', full);
  }

  /** Ends those images of `call` that are not in flight. */
  drop(call: Call, reason: unknown): void {
    const ahead = [...call.ahead];
    for (const ticket of ahead) this.#leave(ticket);
    for (const ticket of call.waiting) this.#count(ticket, -1);
    for (const ticket of ahead.concat(call.waiting.splice(0))) settle(ticket, new Ended(reason));
    this.#toDecode.delete(call);
    this.#pump();
  }

  #count({ call }: Ticket, more: 1 | -1): void {
    if (call.options.maxQueue !== undefined) this.#queued += more;
  }

  /** Ends all images that are not in flight, and those that are added afterwards. */
  end(reason: FkinvError): void {
    this.#ended = reason;
    for (const call of new Set([...this.#toDecode, ...this.#toInvert])) this.drop(call, reason);
  }

  #pump(): void {
    if (this.#ended !== undefined) return;
    while (this.#decodeNext());
    while (this.#beginNext());
  }

  /** Begins to decode the next image, if there is one, and room. */
  #decodeNext(): boolean {
    const [call] = this.#toDecode;
    const ticket = call?.waiting[0];
    if (call === undefined || ticket === undefined) return false;
    const { particles } = ticket.options;
    const room = call.options.rows * this.#lanes.length;
    if (this.#aheadRows > 0 && this.#aheadRows + particles > room) return false;
    call.waiting.shift();
    this.#toDecode.delete(call);
    if (call.waiting.length > 0) this.#toDecode.add(call); // behind the others
    this.#enter(ticket, 'push');
    void this.#decode(ticket);
    return true;
  }

  async #decode(ticket: Ticket): Promise<void> {
    const { call } = ticket;
    const models = this.#lanes[0]?.models;
    const timer = setTimeout(() => {
      ticket.isSlow = true;
      this.#pump();
    }, patience);
    try {
      const prepared = models && (await prepare(models, ticket, this.memory, call.options.recording));
      if (!(prepared instanceof FkinvError)) ticket.prepared = prepared;
      else if (this.#leave(ticket)) settle(ticket, prepared);
    } catch (error) {
      if (this.#leave(ticket)) settle(ticket, new Ended(error));
    }
    clearTimeout(timer);
    ticket.isSlow = false;
    this.#pump();
  }

  /** Puts an image with those that its call has decoded ahead, at the end or at the start. */
  #enter(ticket: Ticket, end: 'push' | 'unshift'): void {
    ticket.call.ahead[end](ticket);
    this.#toInvert.add(ticket.call);
    this.#aheadRows += ticket.options.particles;
  }

  /** Takes an image out of those that its call has decoded ahead, and gives whether it was one. */
  #leave(ticket: Ticket): boolean {
    const { call, options } = ticket;
    const i = call.ahead.indexOf(ticket);
    if (i === -1) return false;
    call.ahead.splice(i, 1);
    if (call.ahead.length === 0) this.#toInvert.delete(call);
    this.#aheadRows -= options.particles;
    this.#count(ticket, -1);
    return true;
  }

  /** Begins the next cohort, if its images are decoded, and if there is room. */
  #beginNext(): boolean {
    const [head] = [...this.#toInvert].flatMap((call) => readyOf(call).slice(0, 1));
    if (head === undefined) return false;
    const { lane, room } = this.#roomiest(head);
    const { particles } = head.options;
    const size = this.#sizeOn(lane, head);
    const members = room < particles ? [] : this.#nextOf(head.key, Math.min(size, Math.floor(room / particles)));
    if (members.length === 0 || members.some(({ prepared }) => prepared === undefined)) return false;
    const rows = members.length * particles;
    lane.rows += rows;
    for (const member of members) {
      this.#leave(member);
      const { call } = member;
      if (this.#toInvert.delete(call)) this.#toInvert.add(call); // behind the others
    }
    void this.#run({ lane, members, rows, inFlight: lane.rows, cap: lane.cap });
    return true;
  }

  /** The engine that has most room for `head`, the first of those that have as much, and how many rows it has room for. */
  #roomiest({ call: { options }, options: { particles } }: Ticket): { lane: Lane; room: number } {
    const lanes = options.recording === undefined ? this.#lanes : this.#lanes.slice(0, 1);
    const rooms = lanes.map((lane) => {
      const most = Math.min(options.rows, lane.cap);
      return { lane, room: lane.rows === 0 ? Math.max(most, particles) : most - lane.rows };
    });
    return rooms.reduce((best, each) => (each.room > best.room ? each : best));
  }

  /** Images of a cohort that begins with `head`: half of what the engine may have; an even share while engines are idle. */
  #sizeOn(lane: Lane, { call, key, options }: Ticket): number {
    const half = Math.max(1, Math.floor(Math.min(call.options.rows, lane.cap) / 2 / options.particles));
    const idle = this.#lanes.filter(({ rows }) => rows === 0).length;
    if (idle < 2) return half;
    return Math.min(half, Math.ceil(this.#nextOf(key, half * idle).length / idle));
  }

  /** The next images of this key, `most` of them, the calls in turn and each in its order. */
  #nextOf(key: string, most: number): Ticket[] {
    const members: Ticket[] = [];
    for (let turn = 0; ; turn++) {
      const before = members.length;
      for (const call of this.#toInvert) {
        if (members.length === most) return members;
        const ready = readyOf(call);
        // An image of another key ends what this call gives, since nothing overtakes it.
        if (ready.length > turn && ready.slice(0, turn + 1).every((each) => each.key === key)) {
          members.push(...ready.slice(turn, turn + 1));
        }
      }
      if (members.length === before) return members;
    }
  }

  async #run(cohort: Cohort): Promise<void> {
    const { lane, members, rows } = cohort;
    const [head] = members;
    const jobs = members.flatMap((ticket) => {
      const { prepared, seed, listener } = ticket;
      // An image that memory ran out for may get another turn, which is decided at the end of its cohort.
      listener.onLeftOut = (why) => {
        if (why instanceof Ended || why.code !== 'OUT_OF_MEMORY') settle(ticket, why);
      };
      return prepared === undefined ? [] : [{ prepared, seed, listener }];
    });
    let results: (Result | Ended)[];
    try {
      if (head === undefined) return;
      results = await invertTogether(lane.models, jobs, head.options, this.hints, head.call.options.recording);
    } catch (error) {
      results = members.map(() => failureOf(error));
    }
    lane.rows -= rows;
    const isRetried = this.#retry(cohort, results);
    for (const [i, ticket] of members.entries()) {
      const result = results[i] ?? new FkinvError('INTERNAL', 'an image was lost');
      if (!isRetried.has(ticket)) settle(ticket, result);
    }
    this.#pump();
  }

  /**
   * The images of a cohort that get another turn: those that memory ran out for, unless one image was alone in flight. The engine
   * has half as many rows in flight from here on.
   */
  #retry({ lane, members, rows, inFlight, cap }: Cohort, results: (Result | Ended)[]): Set<Ticket> {
    const short = members.filter((_, i) => {
      const result = results[i];
      return result instanceof FkinvError && result.code === 'OUT_OF_MEMORY';
    });
    const particles = members[0]?.options.particles ?? 1;
    const isAlone = members.length === 1 && inFlight === rows && lane.rows === 0;
    if (short.length === 0 || isAlone || this.#ended !== undefined) return new Set();
    if (lane.cap === cap) {
      lane.cap = Math.max(particles, Math.floor(inFlight / 2));
      const goesOn = `goes on with ${lane.cap} (maxBatch)`;
      const { device } = lane.models.engine;
      // What the caller's function throws must lose no image, so it is called outside of the cohort.
      queueMicrotask(() => this.warn(`${device}: out of memory with ${inFlight} rows in flight, ${goesOn}`));
    }
    const retried = new Set<Ticket>();
    for (const ticket of short.reverse()) {
      if (ticket.listener.ended !== undefined) continue;
      this.#count(ticket, 1);
      this.#enter(ticket, 'unshift');
      retried.add(ticket);
    }
    return retried;
  }
}

/** Gives an image's result to whoever waits for it; only the first counts. Where its caller has ended it, that is the result. */
function settle({ listener, resolve, reject }: Ticket, result: Result | Ended): void {
  const outcome = listener.ended ?? result;
  if (outcome instanceof Ended) {
    listener.end(outcome.reason);
    reject(outcome.reason);
    return;
  }
  if (outcome instanceof FkinvError) listener.end(outcome);
  else listener.done();
  resolve(outcome);
}

/** The images that a call has decoded ahead, in order; those that take long to decode stand in nobody's way. */
function readyOf({ ahead }: Call): Ticket[] {
  return ahead.filter(({ isSlow }) => !isSlow);
}
