// Calls that share an Inverter: what they share, that they take turns, and that none disturbs another.
import { execFile, spawnSync } from 'node:child_process';
import { getEventListeners } from 'node:events';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { FkinvError, Inverter, type Inversion, type LoadOptions, type TraceStep } from 'fkinv-native';
import { loadScenes } from '../../bench/scenes';
import { bells } from '../helpers/fkinv';
import { needs } from '../helpers/needs';

const quick = { particles: 4, steps: 6, length: 10 };
const files = loadScenes()
  .slice(0, 24)
  .map(({ file }) => file);
const file = (i: number): string => files[i % files.length] ?? '';

async function load(t: ExecutionContext, options: LoadOptions = {}): Promise<Inverter> {
  const inverter = await Inverter.load({ threads: 2, ...options });
  t.teardown(() => inverter.dispose());
  return inverter;
}

/** What a seed decides. */
function essence({ prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace }: Inversion): unknown {
  return { prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace };
}

test('concurrent calls of invert share forwards, and each gives what it gives alone', async (t) => {
  const inverter = await load(t);
  const together = await Promise.all(files.map((image, seed) => inverter.invert(image, { ...quick, seed })));
  const shared = together.map(({ timings }) => timings.images);
  t.true(Math.max(...shared) > 1 && Math.max(...shared) <= 8, 'half of 64 rows are 8 images of 4');
  for (const [seed, image] of files.slice(0, 6).entries()) {
    const alone = await inverter.invert(image, { ...quick, seed });
    t.is(alone.timings.images, 1);
    t.deepEqual(essence(together[seed] ?? t.fail()), essence(alone));
  }
});

test('a call has its turn in the midst of one of many images, and of calls with other options', async (t) => {
  const inverter = await load(t);
  let done = 0;
  const bulk = (async () => {
    const images = Array.from({ length: 80 }, (_, i) => file(i));
    for await (const result of inverter.invertAll(images, quick)) done += result instanceof FkinvError ? 0 : 1;
  })();
  const others = Array.from({ length: 4 }, (_, i) =>
    inverter.invert(file(i), { ...quick, particles: 16, steps: 4 + i }),
  );
  const mostBefore = async (inversion: Promise<Inversion>): Promise<void> => {
    const before = done;
    await inversion;
    // Two cohorts of 8 that are in flight, two in their place, and two for each of the others that were there before.
    t.true(done - before <= 32 + 4 * 8, `${done - before}`);
  };
  while (done < 8) await setTimeout(1);
  await mostBefore(inverter.invert(file(0), quick));
  await mostBefore(inverter.invert(file(1), { ...quick, steps: 3 }));
  await mostBefore(inverter.invert(file(2), { ...quick, particles: 64 }));
  t.true(done < 80, 'the many are not done');
  await Promise.all([bulk, ...others]);
  t.is(done, 80);
});

test('maxQueue: calls that are too many are refused at once, and the others are done', async (t) => {
  const inverter = await load(t, { maxQueue: 3 });
  for (let round = 0; round < 2; round++) {
    const calls = Array.from({ length: 5 }, (_, seed) => inverter.invert(file(seed), { ...quick, seed }));
    const ended = await Promise.allSettled(calls);
    const full = ended.flatMap((end) => (end.status === 'rejected' ? [end.reason as FkinvError] : []));
    t.deepEqual(
      full.map(({ code }) => code),
      ['QUEUE_FULL', 'QUEUE_FULL'],
    );
    t.regex(full[0]?.message ?? '', /^3 calls of invert wait .* maxQueue of load /);
  }
  // Those of invertAll read no more than they can take, and are never too many.
  const results = [];
  for await (const result of inverter.invertAll(files, quick)) results.push(result);
  t.false(results.some((result) => result instanceof FkinvError));
  for (const maxQueue of [0, 1.5, 1_000_001]) {
    await t.throwsAsync(Inverter.load({ maxQueue }), { instanceOf: FkinvError, code: 'INVALID_OPTION' });
  }
});

test('calls that share forwards end each by itself: an abort, what onStep throws, a bad image', async (t) => {
  const inverter = await load(t);
  const controller = new AbortController();
  const waiting = new AbortController();
  const thrown = new Error('on purpose');
  const steps = { aborted: 0, threw: 0 };
  const options = (onStep: (step: TraceStep) => void) => ({ ...quick, seed: 1, onStep });
  const calls = [
    inverter.invert(
      file(0),
      options(() => undefined),
    ),
    inverter.invert(file(1), {
      ...options(({ step }) => {
        steps.aborted++;
        if (step === 2) controller.abort('enough');
      }),
      signal: controller.signal,
    }),
    inverter.invert(
      file(2),
      options(({ step }) => {
        steps.threw++;
        if (step === 3) throw thrown;
      }),
    ),
    inverter.invert('/no/such/file.png', quick),
    inverter.invert(file(3), { ...quick, seed: 1, signal: waiting.signal }),
    inverter.invert(
      file(4),
      options(() => undefined),
    ),
  ];
  waiting.abort('before it begins');
  const ended = await Promise.allSettled(calls);
  const reasons = ended.map((end) => (end.status === 'rejected' ? (end.reason as FkinvError) : undefined));
  t.deepEqual(
    reasons.map((reason) => reason?.code),
    [undefined, 'ABORTED', undefined, 'IMAGE_NOT_FOUND', 'ABORTED', undefined],
  );
  t.is(reasons[1]?.cause, 'enough');
  t.true((reasons[2] as Error) === thrown);
  t.is(reasons[4]?.cause, 'before it begins');
  t.deepEqual(steps, { aborted: 3, threw: 4 }, 'they hear of no step after their end');
  for (const i of [0, 5]) {
    const result = (await calls[i]) ?? t.fail();
    t.deepEqual(essence(result), essence(await inverter.invert(file(i === 0 ? 0 : 4), { ...quick, seed: 1 })));
  }
});

test('what ends one of those that share forwards is told at once, not when the others are done', async (t) => {
  const inverter = await load(t);
  const options = { ...quick, steps: 60 };
  let steps = 0;
  const goesOn = inverter.invert(file(0), { ...options, onStep: ({ step }) => (steps = step) });
  const controller = new AbortController();
  const at = async (call: Promise<unknown>): Promise<number> => (await call.catch(() => undefined), steps);
  const throws = inverter.invert(file(1), {
    ...options,
    onStep: () => {
      throw new Error('on purpose');
    },
  });
  const aborted = inverter.invert(file(2), {
    ...options,
    signal: controller.signal,
    onStep: ({ step }) => step === 9 && controller.abort(),
  });
  const endedAt = await Promise.all([at(throws), at(aborted)]);
  const { timings } = await goesOn;
  t.log(`${timings.images} of 3 shared forwards`); // all, but where a busy machine takes over a second for a picture
  t.true(timings.images < 3 || Math.max(...endedAt) < 60, endedAt.join(' '));
});

test('an abort of all that is in flight ends it at once, not at the next step', async (t) => {
  const inverter = await load(t);
  const controller = new AbortController();
  let steps = 0;
  const onStep = ({ step }: TraceStep): void => {
    steps++;
    if (step === 1) setImmediate(() => controller.abort());
  };
  const options = { particles: 64, steps: 900, signal: controller.signal, onStep };
  const calls = [0, 1].map((i) => inverter.invert(file(i), options));
  for (const call of calls) await t.throwsAsync(call, { instanceOf: FkinvError, code: 'ABORTED' });
  t.true(steps < 20, `${steps}`);
  t.is(typeof (await inverter.invert(file(0), quick)).prompt, 'string');
});

test('a disposal ends the calls that wait for their turn, and those that share a forward', async (t) => {
  const inverter = await load(t);
  const calls = Array.from({ length: 60 }, (_, i) => inverter.invert(file(i), { ...quick, steps: 200 + (i % 3) }));
  await setTimeout(100);
  await inverter.dispose();
  for (const call of calls) await t.throwsAsync(call, { instanceOf: FkinvError, code: 'DISPOSED' });
});

test('an image of more particles than the others of its call have rows for runs alone', async (t) => {
  const inverter = await load(t);
  const items = [file(0), { image: file(1), particles: 100 }, file(2)];
  const particles: number[] = [];
  for await (const result of inverter.invertAll(items, quick)) {
    particles.push(result instanceof FkinvError ? 0 : result.particles.length);
  }
  t.deepEqual(particles, [4, 100, 4]);
});

/** A picture that takes seconds to draw. */
const slowPicture = Buffer.from(
  '<svg xmlns="http://www.w3.org/2000/svg" width="1800" height="1800"><filter id="noise">' +
    '<feTurbulence baseFrequency="0.05" numOctaves="14"/></filter><rect width="1800" height="1800" filter="url(#noise)"/></svg>',
);

test('nothing waits for an image that takes long to decode; when it is, it is inverted', async (t) => {
  const inverter = await load(t);
  const done: string[] = [];
  const invert = async (name: string, image: string | Buffer): Promise<Inversion> => {
    const result = await inverter.invert(image, quick);
    done.push(name);
    return result;
  };
  const [slow] = await Promise.all([invert('slow', slowPicture), ...[1, 2, 3].map((i) => invert('other', file(i)))]);
  t.deepEqual(done, ['other', 'other', 'other', 'slow']);
  t.is(slow.particles.length, quick.particles);
});

test('one signal for many calls: one listener, no warning of a leak, and nothing stays', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): number => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  const inverter = await load(t);
  const controller = new AbortController();
  const { signal } = controller;
  const options = { ...quick, steps: 300, signal };
  await inverter.invert(file(0), { ...quick, signal });
  t.is(getEventListeners(signal, 'abort').length, 0, 'a call that is done listens no more');
  const calls = files.slice(0, 20).map((image) => inverter.invert(image, options));
  const iterations = files.slice(0, 12).map((image) => inverter.invertAll([image, image], options));
  const results = iterations.map((iteration) => iteration.next());
  t.is(getEventListeners(signal, 'abort').length, 1);
  const ended = Promise.all([...calls, ...results].map((call) => t.throwsAsync(call, { code: 'ABORTED' })));
  await setTimeout(100);
  controller.abort();
  await ended;
  t.is(getEventListeners(signal, 'abort').length, 0);
  await setTimeout(1); // a warning is told in a turn of its own
  t.deepEqual(warnings, []);
});

const hasPrlimit = process.platform === 'linux' && spawnSync('prlimit', ['--version']).status === 0;

needs(hasPrlimit, 'prlimit of Linux')(
  'out of memory: half as much goes on, once said, and every image has the result that it has otherwise',
  async (t) => {
    const script = path.join(__dirname, '..', 'fixtures', 'process', 'scarce.cjs');
    const { stdout } = await promisify(execFile)(process.execPath, [script, '150000000', bells], {
      env: { ...process.env, MALLOC_ARENA_MAX: '1' }, // glibc's others are address space that nobody uses
    });
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    const warnings = lines.slice(0, -2).map(String);
    const told = /^cpu: out of memory with (\d+) rows in flight, goes on with (\d+) \(maxBatch\)$/.exec(
      warnings[0] ?? '',
    );
    t.truthy(told, warnings.join('\n'));
    t.is(Number(told?.[2]), Number(told?.[1]) / 2);
    t.is(new Set(warnings).size, warnings.length);
    t.deepEqual(lines.slice(-2), ['as before', 'OUT_OF_MEMORY']);
  },
);
