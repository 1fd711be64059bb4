// What a listener hears of an image, and what it ends it with: nothing waits for it.
import test from 'ava';
import { FkinvError, Inverter, type ImageItem, type Inversion, type TraceStep } from '../../lib';
import { Listener } from '../../lib/sampling/listener';
import { loadScenes } from '../../bench/scenes';

const quick = { particles: 2, steps: 5, length: 8 };
const endless = { ...quick, steps: 1000 }; // it would take seconds: only what ends it does so sooner
const files = loadScenes()
  .slice(0, 9)
  .map(({ file }) => file);
const file = (i: number): string => files[i] ?? '';
const never = new Promise<never>(() => undefined);

let inverter: Inverter;
test.before(async () => {
  inverter = await Inverter.load({ threads: 2 });
});
test.after.always(() => inverter.dispose());

/** A promise, and what settles it. */
function gate(): { opened: Promise<void>; open: () => void; fail: (reason: unknown) => void } {
  let settle: { open: () => void; fail: (reason: unknown) => void } | undefined;
  const opened = new Promise<void>((open, fail) => (settle = { open, fail }));
  return { opened, open: () => settle?.open(), fail: (reason) => settle?.fail(reason) };
}

/** Whoever waits for something that has happened has gone on when it resolves. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What a seed decides. */
function essence({ prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace }: Inversion): unknown {
  return { prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace };
}

/** A step, of which the listener looks at nothing. */
const stepOf = (step: number): TraceStep => ({
  step,
  steps: 9,
  states: 1,
  rewardClip: [1],
  rewardEdit: [1],
  logWeights: [0],
  ess: 1,
  ancestors: [0],
  resampled: false,
  best: '',
});

test('one that answers at once hears every step, one that is slow the newest', async (t) => {
  const heard: number[] = [];
  const gates = [gate(), gate(), gate()];
  const quick = new Listener(({ step }) => heard.push(step));
  const slow = new Listener(({ step }) => {
    heard.push(10 * step);
    return gates[heard.filter((each) => each >= 10).length - 1]?.opened;
  });
  for (const step of [1, 2, 3]) {
    quick.hear(stepOf(step));
    slow.hear(stepOf(step));
    await turn();
  }
  t.deepEqual(heard, [1, 10, 2, 3]);
  gates[0]?.open();
  await turn();
  t.deepEqual(heard.slice(4), [30], '2 came and went while 1 was told');
  gates[1]?.open();
  await turn();
  slow.hear(stepOf(4));
  t.deepEqual(heard.slice(4), [30, 40], 'one that is free is told at once');
});

test('the first that ends an image counts; then no step is told', async (t) => {
  const told: number[] = [];
  const { opened, open } = gate();
  let ends = 0;
  const listener = new Listener(({ step }) => (told.push(step), opened));
  listener.onEnded = () => ends++;
  listener.hear(stepOf(1));
  listener.hear(stepOf(2));
  listener.end('first');
  listener.end('second');
  open();
  await turn();
  listener.hear(stepOf(3));
  t.deepEqual({ told, ends, reason: listener.ended?.reason }, { told: [1], ends: 1, reason: 'first' });

  const done = new Listener(() => Promise.reject(new Error('too late')));
  done.hear(stepOf(1));
  done.done();
  await turn();
  t.is(done.ended, undefined);
});

test('the result does not wait; the last step is told when the listener is free', async (t) => {
  const heard: number[] = [];
  const { opened, open } = gate();
  const result = await inverter.invert(file(0), { ...quick, onStep: ({ step }) => (heard.push(step), opened) });
  t.deepEqual(heard, [0]);
  open();
  await turn();
  t.deepEqual(heard, [0, 5]);
  t.deepEqual(essence(result), essence(await inverter.invert(file(0), quick)));
});

test('what rejects before the image is done ends it, at whatever step', async (t) => {
  const reason = new Error('mine');
  const last = async ({ step, steps }: TraceStep): Promise<void> => {
    await Promise.resolve();
    if (step === steps) throw reason;
  };
  t.is(await t.throwsAsync(inverter.invert(file(0), { ...quick, onStep: last })), reason);

  const { opened, fail } = gate();
  const beside = inverter.invert(file(1), quick);
  const failing = inverter.invert(file(0), {
    ...endless,
    onStep() {
      setImmediate(() => fail(reason));
      return opened;
    },
  });
  t.is(await t.throwsAsync(failing), reason);
  t.is(await t.throwsAsync(inverter.invertAll(files, { ...endless, onStep: () => opened }).next()), reason);
  t.deepEqual(essence(await beside), essence(await inverter.invert(file(1), quick)));
});

test('what rejects after the result is swallowed', async (t) => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): number => unhandled.push(reason);
  process.on('unhandledRejection', note);
  t.teardown(() => process.off('unhandledRejection', note));
  const { opened, fail } = gate();
  const heard: number[] = [];
  await inverter.invert(file(0), { ...quick, onStep: ({ step }) => (heard.push(step), opened) });
  fail(new Error('too late'));
  await turn();
  t.deepEqual({ heard, unhandled }, { heard: [0], unhandled: [] });
});

test('an abort settles the call of one that never answers, and of its neighbours none', async (t) => {
  const controller = new AbortController();
  const { opened, open } = gate();
  const heard: number[] = [];
  const aborted = inverter.invert(file(0), {
    ...quick,
    steps: 300,
    signal: controller.signal,
    onStep({ step }) {
      heard.push(step);
      setImmediate(() => controller.abort('gone'));
      return opened;
    },
  });
  const beside = inverter.invert(file(1), { ...quick, steps: 300 });
  const error = await t.throwsAsync(aborted, { instanceOf: FkinvError, code: 'ABORTED' });
  t.is(error.cause, 'gone');
  t.deepEqual(essence(await beside), essence(await inverter.invert(file(1), { ...quick, steps: 300 })));
  open();
  await turn();
  t.deepEqual(heard, [0], 'an image that was ended tells no more');
});

test('nothing waits for listeners that never answer: the calls they are of, those beside, those that come', async (t) => {
  const onStep = (): Promise<never> => never;
  const calls = files
    .slice(0, 8)
    .map((image, seed) => inverter.invert(image, { ...quick, particles: 16, seed, onStep }));
  const ninth = inverter.invert(file(8), quick);
  const results = await Promise.all(calls);
  t.deepEqual(essence(await ninth), essence(await inverter.invert(file(8), quick)));
  for (const [seed, result] of results.entries()) {
    t.deepEqual(essence(result), essence(await inverter.invert(file(seed), { ...quick, particles: 16, seed })));
  }
});

test('each image of a call has its own turn; leaving the iteration waits for no listener', async (t) => {
  const heard = new Map<number, number[]>();
  const onStep = ({ step }: TraceStep, index: number): unknown => {
    heard.set(index, [...(heard.get(index) ?? []), step]);
    return index % 2 === 0 ? never : undefined;
  };
  const items: ImageItem[] = [...files.slice(0, 4), { image: file(4), steps: 1000 }];
  const results = inverter.invertAll(items, { ...quick, onStep });
  for (const index of [0, 1, 2, 3]) {
    const { value } = (await results.next()) as { value: Inversion };
    t.deepEqual(essence(value), essence(await inverter.invert(file(index), quick)));
    t.deepEqual(heard.get(index), index % 2 === 0 ? [0] : [0, 1, 2, 3, 4, 5]);
  }
  await results.return();
  t.true((heard.get(4) ?? []).length < 2);
});

test('a disposal settles the calls of listeners that never answer, and tells them no more', async (t) => {
  const mine = await Inverter.load({ threads: 1 });
  const begun = gate();
  const { opened, open } = gate();
  const heard: number[] = [];
  const call = mine.invert(file(0), {
    ...endless,
    onStep({ step }) {
      heard.push(step);
      begun.open();
      return opened;
    },
  });
  const ended = t.throwsAsync(call, { instanceOf: FkinvError, code: 'DISPOSED' });
  await begun.opened;
  await Promise.all([ended, mine.dispose()]);
  open();
  await turn();
  t.deepEqual(heard, [0]);
});

test('a step is the listener’s own: what it does to it changes nothing', async (t) => {
  const expected = essence(await inverter.invert(file(0), quick));
  const steps: TraceStep[] = [];
  const onStep = (step: TraceStep): void => {
    steps.push(structuredClone(step));
    step.rewardClip.length = 0;
    step.rewardEdit.fill(NaN);
    step.ancestors.fill(99);
    Object.assign(step, { logWeights: 'mine', best: 'mine' });
  };
  const inversion = await inverter.invert(file(0), { ...quick, onStep });
  t.deepEqual(essence(inversion), expected);
  t.deepEqual(steps, inversion.trace);
});
