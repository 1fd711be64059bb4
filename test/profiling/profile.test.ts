// inverter.profile: it changes nothing, and says what was called, how often, and what that read, exactly.
import path from 'node:path';
import test from 'ava';
import {
  chromeTrace,
  Inverter,
  type InvertOptions,
  type Profile,
  type ProfileEntry,
  type ProfileEvent,
} from 'fkinv-native';
import { z } from 'zod';
import type { NativeSpan } from '../../lib/native/addon';
import { profileOf } from '../../lib/profiling/profile';
import { Recording } from '../../lib/profiling/recording';
import { rewards } from '../../lib/sampling/rewards/list';
import { bells, squids } from '../helpers/fkinv';

const folder = path.join(__dirname, '..', '..', 'models');
const K = 4;
const T = 5;
const N = 6;
const V = 2048;
const tiles = 2;
const E = 256;
const quick: InvertOptions = { particles: K, steps: T, length: N };

/** Rewards whose values the host computes. */
const given = rewards.filter((reward) => 'ofTexts' in reward).length;

let inverter: Inverter;
let profile: Profile;
test.before(async () => {
  inverter = await Inverter.load({ dllm: path.join(folder, 'dllm'), clip: path.join(folder, 'clip'), threads: 2 });
  profile = await inverter.profile(bells, quick);
});
test.after.always(() => inverter.dispose());

const eventsOf = ({ events }: Profile, name: string, kind: ProfileEvent['kind'] = 'kernel'): ProfileEvent[] =>
  events.filter((event) => event.name === name && event.kind === kind);
const callsOf = ({ entries }: Profile): Record<string, number> =>
  Object.fromEntries(entries.map(({ name, calls }) => [name, calls]));
const sum = (values: number[]): number => values.reduce((all, value) => all + value, 0);
const statesOf = ({ inversion }: Profile): number[] => inversion.trace.map(({ states }) => states);

test('a profiled inversion is the one that is not profiled', async (t) => {
  const { timings } = profile.inversion;
  t.deepEqual({ ...(await inverter.invert(bells, quick)), timings }, profile.inversion);
});

test('what crosses between host and device in a step is token ids, text ids, rewards and ancestors', (t) => {
  const { copies, waits } = profile;
  const states = profile.inversion.timings.forwards;
  const toHost = 8 * (T + 1) * ((rewards.length - given) * K + K + 1); // with log-weights, and ESS
  t.deepEqual(copies.rewards, { toDevice: 8 * (T + 1) * given * K, toHost });
  t.deepEqual(copies.ancestors, { toDevice: 0, toHost: T * (4 * K + 1) });
  t.is(copies.tokenIds.toHost, 4 * K * N * (T + 1 + T)); // guesses and proposals
  t.is(copies.tokenIds.toDevice, 8 * N * states + 4 * K * (T + 1)); // new states, and who is in which
  t.is(copies.textIds.toHost, 0);
  t.true(copies.textIds.toDevice > 4 * K * (T + 1)); // texts, and whose they are
  t.deepEqual(copies.result, { toDevice: 0, toHost: 8 * K + 4 + 4 * N * N + N });
  t.is(waits, 2 * (T + 1) + 1 + 1 + 3); // the reference, then what the result is made of
});

test('every kernel and every run of a model is there, as often as it was called', (t) => {
  const { upload, download, copy, 'CLIP text': texts, dLLM, pass, merge, suppress, ...calls } = callsOf(profile);
  t.true([upload, download, copy].every((count) => count !== undefined && count > 0));
  t.true(texts !== undefined && texts > 0 && texts <= K * (T + 1), 'texts that are known are not encoded again');
  t.is(dLLM, profile.inversion.timings.forwards);
  t.true(dLLM !== undefined && dLLM > 0 && dLLM <= sum(statesOf(profile)), 'nor are states that are known');
  t.deepEqual([merge, suppress], [pass, 2 * (pass ?? NaN)], 'for each stretch of new states');
  t.deepEqual(calls, {
    'CLIP vision': 1,
    accept: T,
    average: 1,
    cosine: T + 2, // and the reference with itself
    count: T + 1,
    coupling: T + 1,
    draw: 2 * T + 1,
    effectiveSampleSize: T + 1,
    exclude: T + 1,
    gather: 4 * T,
    masked: 2 * T + 1,
    open: T,
    place: T,
    resample: T,
    weigh: T + 1,
    decodeImage: 1,
    decodeText: T + 1,
    tokenizeText: T + 1,
  });
  const named = (kind: string): string[] =>
    profile.entries.flatMap((entry) => (entry.kind === kind ? [entry.name] : [])).sort();
  t.deepEqual(named('model'), ['CLIP text', 'CLIP vision', 'dLLM']);
  t.deepEqual(named('text'), ['decodeText', 'tokenizeText']);
  t.deepEqual(named('image'), ['decodeImage']);
  t.deepEqual(
    profile.events.filter(({ kind }) => kind === 'step').map(({ name }) => name),
    Array.from({ length: T + 1 }, (_, step) => `step ${step}`),
  );
});

test('the kernels that other options need are there too', async (t) => {
  const options: InvertOptions = {
    ...quick,
    order: 'margin',
    topK: 50,
    guesses: 2,
    banned: ['a', 'two', 'of'],
    seed: 3,
  };
  const other = await inverter.profile([bells, squids], options);
  const calls = callsOf(other);
  t.is(calls['CLIP vision'], 2);
  t.is(calls['average'], 1);
  t.is(calls['truncate'], calls['pass']);
  t.is(calls['score'], T);
  t.is(calls['choose'], T);
  t.is(calls['draw'], 3 * T + 2);
  t.true((calls['redraw'] ?? 0) > 0);
  t.is(calls['open'], undefined);
  for (const { bytes, flops } of eventsOf(other, 'truncate')) t.is(flops, 20 * ((bytes ?? 0) / 4));
  t.deepEqual(
    eventsOf(other, 'average').map(({ bytes, flops }) => ({ bytes, flops })),
    [{ bytes: 2 * E * 4, flops: 4 * 2 * E + 3 * E }],
  );
});

test('bytes and operations are those of the shapes', (t) => {
  const states = statesOf(profile);
  const pairs = (N * (N + 1)) / 2;
  const costs = (name: string, kind?: ProfileEvent['kind']): unknown =>
    eventsOf(profile, name, kind).map(({ bytes, flops }) => ({ bytes, flops }));
  /** Of the states of each call, which the passes' own bytes tell. */
  const newStates = eventsOf(profile, 'pass').map(({ bytes }) => (bytes ?? NaN) / (N * V * 4));
  t.true(newStates.every((Q) => Number.isInteger(Q) && Q >= 1 && Q <= K));
  t.is(sum(newStates), profile.inversion.timings.forwards);
  const perStep = (bytes: number, flops: number): unknown =>
    newStates.map((Q) => ({ bytes: Q * bytes, flops: Q * flops }));
  t.deepEqual(costs('pass'), perStep(N * V * 4, 2 * pairs * V + 20 * N * V));
  t.deepEqual(costs('merge'), perStep(N * tiles * 24 + pairs * 4, 8 * N * tiles + 3 * pairs));
  t.deepEqual(
    costs('weigh'),
    states.map(() => ({ bytes: 8 * (rewards.length + 2) * K, flops: (2 * rewards.length + 1) * K })),
  );
  t.deepEqual(
    costs('cosine'),
    [1, ...states.map(() => K)].map((rows) => ({ bytes: 8 * E * rows, flops: 6 * E * rows })),
  );
  const [first, second] = eventsOf(profile, 'draw');
  t.is(first?.bytes, K * N * (tiles * 4 + 1024 * 4), 'at first every position is drawn');
  t.is(first?.flops, K * N * 20 * 1024);
  t.true((second?.bytes ?? NaN) < (first?.bytes ?? NaN), 'of the proposal only those that open');
  t.deepEqual(new Set(eventsOf(profile, 'dLLM', 'model').map(({ bytes }) => bytes)), new Set([8 * N + 4 * E]));
  const forwards = eventsOf(profile, 'dLLM', 'forward').map(({ bytes }) => bytes ?? NaN);
  t.is(sum(forwards), sum(newStates) * (8 * N + 4 * E));
});

test('entries add their calls up, and hold them against the limits', (t) => {
  const { entries, limits } = profile;
  t.is(limits.threads, 2);
  t.true(limits.flopsPerSecond > 0 && limits.bytesPerSecond > 0);
  for (const entry of entries) {
    const calls = eventsOf(profile, entry.name, entry.kind);
    const durations = calls.map(({ duration }) => duration).sort((a, b) => a - b);
    t.is(entry.calls, calls.length);
    t.true(Math.abs(entry.total - sum(durations)) < 1e-9, entry.name);
    t.is(entry.median, durations[Math.ceil(calls.length / 2) - 1] ?? NaN);
    t.is(entry.bytes === null, entry.kind === 'text' || entry.kind === 'image');
    const isKernel = entry.kind === 'kernel';
    for (const value of [entry.flops, entry.bytesPerSecond, entry.flopsPerSecond, entry.limitShare]) {
      t.is(value !== null, isKernel, entry.name);
    }
    if (!isKernel) continue;
    const { bytes, flops, total, limitShare } = entry as ProfileEntry &
      Record<'bytes' | 'flops' | 'limitShare', number>;
    const needed = Math.max(bytes / limits.bytesPerSecond, flops / limits.flopsPerSecond);
    t.true(Math.abs(limitShare * (total / 1000) - needed) <= 1e-9 * needed, entry.name);
  }
});

test('what was over before the clock moved has no rates', (t) => {
  const recording = new Recording();
  const span = { name: 'copy', kind: 'kernel', thread: 1, start: 5, bytes: 8, flops: 0 } as const;
  const of = (...ends: number[]): ProfileEntry | undefined => {
    const spans: NativeSpan[] = ends.map((end) => ({ ...span, end }));
    const { inversion, limits } = profile;
    return profileOf(recording, spans, 1, inversion, { device: 'cpu', limits }).entries[0];
  };
  t.like(of(5, 5), { calls: 2, total: 0, bytesPerSecond: null, flopsPerSecond: null, limitShare: null });
  t.like(of(5, 7), { calls: 2, total: 2, bytesPerSecond: 8000, flopsPerSecond: 0 });
});

test('of a GPU, what the host does meanwhile is in the total once, and waiting in no part', (t) => {
  const recording = new Recording();
  const { start } = recording;
  recording.spans.push({ name: 'decodeText', start: start + 5, end: start + 15 });
  const work = { bytes: 8, flops: 0 };
  const at = (from: number, to: number): Pick<NativeSpan, 'start' | 'end'> => ({
    start: start + from,
    end: start + to,
  });
  const spans: NativeSpan[] = [
    { name: 'dLLM', kind: 'model', thread: -1, ...at(11, 20), ...work },
    { name: 'dLLM', kind: 'forward', thread: -1, ...at(10, 20), ...work },
    { name: 'pass', kind: 'kernel', thread: -1, ...at(20, 23), ...work },
    { name: 'wait', kind: 'wait', thread: 1, ...at(12, 22), ...work },
    { name: 'download', kind: 'kernel', thread: 1, ...at(22, 24), ...work },
  ];
  const { inversion, limits } = profile;
  const ofGpu = profileOf(recording, spans, 30, inversion, { device: 'cuda:0', limits });
  const parts = Object.entries(ofGpu.parts).map(([name, ms]) => [name, Math.round((ms as number) * 1e6) / 1e6]);
  t.deepEqual(Object.fromEntries(parts), { models: 10, kernels: 4, text: 5, image: 0, rest: 11 });
  t.deepEqual(
    ofGpu.entries.map(({ name, kind }) => `${kind} ${name}`),
    ['model dLLM', 'kernel pass', 'kernel download', 'text decodeText'],
  );
  t.deepEqual(
    ofGpu.events.map(({ name, kind, thread }) => `${thread}: ${kind} ${name}`),
    [
      'event loop: text decodeText',
      'gpu: forward dLLM',
      'gpu: model dLLM',
      'engine: wait wait',
      'gpu: kernel pass',
      'engine: kernel download',
    ],
  );
});

test('the parts are the total, and each event lies in it', (t) => {
  const { parts, total, events } = profile;
  t.true(Math.abs(sum(Object.values(parts) as number[]) - total) < 1e-6);
  for (const part of Object.values(parts) as number[]) t.true(part >= 0);
  t.true(total >= profile.inversion.timings.total);
  for (const { name, start, duration } of events) {
    t.true(start >= 0 && duration >= 0 && start + duration <= total, name);
  }
  t.deepEqual(
    events.map(({ start }) => start),
    events.map(({ start }) => start).sort((a, b) => a - b),
  );
});

test('on one thread, events lie within one another or apart', (t) => {
  const threads = new Set(profile.events.map(({ thread }) => thread));
  t.true([...threads].every((thread) => ['steps', 'event loop', 'engine', 'pool 1'].includes(thread)));
  for (const thread of threads) {
    const open: number[] = [];
    for (const { name, start, duration } of profile.events.filter((event) => event.thread === thread)) {
      while ((open.at(-1) ?? Infinity) <= start) open.pop();
      t.true(start + duration <= (open.at(-1) ?? Infinity), `${name} on ${thread}`);
      open.push(start + duration);
    }
  }
});

test('engine and event loop are on one clock: each step holds its models, its kernels and its text', (t) => {
  for (const step of profile.events.filter(({ kind }) => kind === 'step')) {
    const inside = profile.events.filter(
      ({ start, duration }) => start >= step.start && start + duration <= step.start + step.duration,
    );
    const count = (name: string, kind: ProfileEvent['kind']): number =>
      inside.filter((event) => event.name === name && event.kind === kind).length;
    t.is(count('dLLM', 'forward'), 1, step.name);
    t.is(count('CLIP text', 'forward'), 1, step.name);
    const read = inside.flatMap(({ name, bytes }) => (name === 'pass' ? [(bytes ?? NaN) / (N * V * 4)] : []));
    t.is(sum(read), count('dLLM', 'model'), step.name);
    t.is(count('coupling', 'kernel'), 1, step.name);
    t.is(count('decodeText', 'text'), 1, step.name);
  }
});

const place = { pid: z.int().min(1), tid: z.int().min(0) };
const traceSchema = z.strictObject({
  displayTimeUnit: z.enum(['ms', 'ns']),
  traceEvents: z.array(
    z.discriminatedUnion('ph', [
      z.strictObject({
        ph: z.literal('M'),
        name: z.enum(['process_name', 'thread_name', 'thread_sort_index']),
        ...place,
        args: z.union([z.strictObject({ name: z.string() }), z.strictObject({ sort_index: z.int() })]),
      }),
      z.strictObject({
        ph: z.literal('X'),
        name: z.string().min(1),
        cat: z.string().min(1),
        ...place,
        ts: z.number().min(0),
        dur: z.number().min(0),
        args: z.strictObject({ bytes: z.int().min(0).optional(), flops: z.int().min(0).optional() }),
      }),
    ]),
  ),
});

test('its trace is one of Chrome’s format, with a named track for each thread and every event', (t) => {
  const { traceEvents } = traceSchema.parse(JSON.parse(JSON.stringify(chromeTrace(profile))));
  const names = new Map(
    traceEvents.flatMap(({ name, tid, args }) => (name === 'thread_name' && 'name' in args ? [[tid, args.name]] : [])),
  );
  const shown = traceEvents.flatMap((event) => (event.ph === 'X' ? [event] : []));
  t.is(shown.length, profile.events.length);
  for (const [i, { name, cat, tid, ts, dur }] of shown.entries()) {
    const { kind, thread, start, duration, ...event } = profile.events[i] ?? t.fail();
    t.deepEqual({ name, cat, thread: names.get(tid) }, { name: event.name, cat: kind, thread });
    t.deepEqual([ts, dur], [start * 1000, duration * 1000]);
  }
  t.deepEqual(traceEvents.find(({ name }) => name === 'process_name')?.args, { name: 'fkinv-native' });
});

test('what runs beside it is not recorded', async (t) => {
  const [beside] = await Promise.all([inverter.profile(bells, quick), inverter.invert(squids, quick)]);
  t.deepEqual(callsOf(beside), callsOf(profile));
});

test('one thread has no pool', async (t) => {
  const single = await Inverter.load({ threads: 1 });
  const { events, limits, inversion } = await single.profile(bells, quick);
  t.deepEqual(inversion.prompt, profile.inversion.prompt);
  t.deepEqual([...new Set(events.map(({ thread }) => thread))].sort(), ['engine', 'event loop', 'steps']);
  t.is(limits.threads, 1);
  await single.dispose();
  await t.throwsAsync(single.profile(bells, quick), { code: 'DISPOSED' });
});

/** Milliseconds after the last step, which is before half a second of measuring has passed. */
const whileLimitsAreMeasured =
  (then: () => unknown): NonNullable<InvertOptions['onStep']> =>
  ({ step }) => {
    if (step === T) setTimeout(then, 20);
  };

test('it fails as an inversion does', async (t) => {
  await t.throwsAsync(inverter.profile(bells, { ...quick, particles: 0 }), { code: 'INVALID_OPTION' });
  await t.throwsAsync(inverter.profile('missing.png', quick), { code: 'IMAGE_NOT_FOUND' });
  const signal = AbortSignal.abort(new Error('enough'));
  await t.throwsAsync(inverter.profile(bells, { ...quick, signal }), { code: 'ABORTED' });
  const controller = new AbortController();
  const aborted = inverter.profile(bells, {
    ...quick,
    signal: controller.signal,
    onStep: whileLimitsAreMeasured(() => controller.abort()),
  });
  await t.throwsAsync(aborted, { code: 'ABORTED' });
  const disposable = await Inverter.load({ threads: 1 });
  const disposed = disposable.profile(bells, { ...quick, onStep: whileLimitsAreMeasured(() => disposable.dispose()) });
  await t.throwsAsync(disposed, { code: 'DISPOSED' });
});
