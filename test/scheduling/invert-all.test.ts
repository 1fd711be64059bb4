import { EventEmitter, getEventListeners, once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setImmediate, setTimeout } from 'node:timers/promises';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import {
  FkinvError,
  type ErrorCode,
  Inverter,
  type ImageItem,
  type ImageItems,
  type Inversion,
  type InvertAllOptions,
  type RawImage,
  type TraceStep,
} from 'fkinv-native';
import { loadScenes } from '../../bench/scenes';
import { root } from '../helpers/models-demo';

const quick = { particles: 3, steps: 3, length: 10 };
const files = loadScenes()
  .slice(0, 12)
  .map(({ file }) => file);
const file = (i: number): string => files[i] ?? '';

let inverter: Inverter;
test.before(async () => {
  inverter = await Inverter.load({ threads: 2 });
});
test.after.always(() => inverter.dispose());

/** An Inverter that no other test shares forwards with. */
async function own(t: ExecutionContext): Promise<Inverter> {
  const alone = await Inverter.load({ threads: 2 });
  t.teardown(() => alone.dispose());
  return alone;
}

/** What a seed decides. */
function essence({ prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace }: Inversion): unknown {
  return { prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace };
}

async function collect(
  items: ImageItems,
  options?: InvertAllOptions,
  by = inverter,
): Promise<(Inversion | FkinvError)[]> {
  const results = [];
  for await (const result of by.invertAll(items, options)) results.push(result);
  return results;
}

function inversion(t: ExecutionContext, result: Inversion | FkinvError | undefined): Inversion {
  if (result === undefined || result instanceof FkinvError) return t.fail(String(result));
  return result;
}

async function* later<T>(items: Iterable<T>): AsyncGenerator<T> {
  for (const item of items) {
    await setImmediate();
    yield item;
  }
}

test('results are in input order, and each is what it is alone', async (t) => {
  const alone = await Promise.all(files.map((image) => inverter.invert(image, { ...quick, seed: 5 })));
  for (const items of [files, new Set(files), later(files), files.map((image) => Promise.resolve(image))]) {
    const results = await collect(items, { ...quick, seed: 5 });
    t.deepEqual(
      results.map((result) => essence(inversion(t, result))),
      alone.map(essence),
    );
  }
});

test('maxBatch limits the images in flight, and no result depends on it', async (t) => {
  const alone = await own(t);
  const expected = (await collect(files, quick)).map((result) => essence(inversion(t, result)));
  for (const [maxBatch, most] of [
    [3, 1],
    [7, 2],
    [16, 5],
    [20, 6],
    [undefined, 12],
  ]) {
    const inFlight = new Set<number>();
    let seen = 0;
    const onStep = ({ step, steps }: TraceStep, index: number): void => {
      if (step === steps) inFlight.delete(index);
      else inFlight.add(index);
      seen = Math.max(seen, inFlight.size);
    };
    const results = await collect(files, { ...quick, onStep, ...(maxBatch !== undefined && { maxBatch }) }, alone);
    t.is(seen, most ?? NaN, `${maxBatch} rows`);
    t.deepEqual(
      results.map((result) => essence(inversion(t, result))),
      expected,
    );
    const half = Math.max(1, Math.floor((maxBatch ?? 64) / 2 / 3));
    t.true(results.every((result) => inversion(t, result).timings.images <= half));
  }
});

test('images have options and seeds of their own; equal options share forwards', async (t) => {
  const items: ImageItem[] = [
    { image: file(0), seed: 1 },
    { image: file(1), seed: 2n ** 60n },
    { image: file(2), particles: 5, template: 'a [4] on' },
    { image: file(3), lambdaEdit: 0 },
    file(4),
    { image: new Uint8Array(readFileSync(file(5))), steps: 2 },
  ];
  const results = (await collect(items, quick, await own(t))).map((result) => inversion(t, result));
  // 2, 2, 1, 1, 1, 1; others of equal options where a busy machine takes over a second for a picture, which nothing
  // waits for.
  const most = [3, 3, 1, 1, 3, 1];
  t.true(
    results.every(({ timings }, i) => timings.images <= (most[i] ?? 0)),
    JSON.stringify(results.map(({ timings }) => timings.images)),
  );
  const alone = [
    await inverter.invert(file(0), { ...quick, seed: 1 }),
    await inverter.invert(file(1), { ...quick, seed: 2n ** 60n }),
    await inverter.invert(file(2), { particles: 5, steps: 3, template: 'a [4] on' }),
    await inverter.invert(file(3), { ...quick, lambdaEdit: 0 }),
    await inverter.invert(file(4), quick),
    await inverter.invert(file(5), { ...quick, steps: 2 }),
  ];
  t.deepEqual(results.map(essence), alone.map(essence));
});

test('a bad image gives its error in its place, and the others finish', async (t) => {
  const broken: RawImage = { data: new Uint8Array(5), width: 2, height: 2, channels: 3 };
  const items = [
    file(0),
    '/no/such/file.png',
    new Uint8Array(0),
    broken,
    file(1),
    { image: file(2), steps: 0 },
    { image: file(2), particles: 65 },
    { image: file(2), signal: new AbortController().signal },
    { image: [] },
    42,
    file(3),
  ] as ImageItem[];
  const results = await collect(items, { ...quick, maxBatch: 64 });
  t.deepEqual(
    results.map((result) => (result instanceof FkinvError ? result.code : 'done')),
    [
      'done',
      'IMAGE_NOT_FOUND',
      'IMAGE_INVALID',
      'INVALID_PIXELS',
      'done',
      'INVALID_OPTION',
      'BATCH_TOO_LARGE',
      'INVALID_OPTION',
      'INVALID_OPTION',
      'INVALID_OPTION',
      'done',
    ],
  );
  for (const [place, image] of [
    [0, file(0)],
    [4, file(1)],
    [10, file(3)],
  ] as const) {
    t.deepEqual(essence(inversion(t, results[place])), essence(await inverter.invert(image, quick)));
  }
});

test('a model that fails for some images: each of those has its error, the others what they are alone', async (t) => {
  const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
  const dllm = mkdtempSync(path.join(tmpdir(), 'fkinv-nan-'));
  t.teardown(() => rmSync(dllm, { recursive: true }));
  cpSync(path.join(fixtures, 'dllm'), dllm, { recursive: true });
  cpSync(path.join(fixtures, 'graphs', 'dllm_nan_after_blue.onnx'), path.join(dllm, 'model.onnx'));
  writeFileSync(path.join(dllm, 'fkinv.json'), '{ "condition": "none" }');
  await using broken = await Inverter.load({ dllm, clip: path.join(fixtures, 'clip'), threads: 2 });
  const image: RawImage = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 };
  const options = { particles: 2, steps: 3, length: 3, lambdaClip: 1 };
  const items = Array.from({ length: 30 }, (_, seed) => ({ image, seed }));
  const codes: string[] = [];
  let seed = 0;
  for await (const result of broken.invertAll(items, options)) {
    const alone = await broken
      .invert(image, { ...options, seed: seed++ })
      .catch((error: unknown) => error as FkinvError);
    if (alone instanceof FkinvError || result instanceof FkinvError) {
      t.true(alone instanceof FkinvError && result instanceof FkinvError);
      // Its message names one of the faulty places: which comes first depends on the states that are shared.
      t.is((result as FkinvError).code, (alone as FkinvError).code);
      codes.push((result as FkinvError).code);
    } else {
      t.true(result.timings.images <= 16, 'half of the 64 rows hold 16 images of 2 particles');
      t.deepEqual(essence(result), essence(alone));
      codes.push('done');
    }
  }
  t.deepEqual(new Set(codes), new Set(['INVALID_LOGITS', 'done']));
});

test('no images, no results; options of the call are refused at once', async (t) => {
  t.deepEqual(await collect([]), []);
  t.deepEqual(await collect(later([])), []);
  const refused: [unknown, InvertAllOptions, ErrorCode][] = [
    [files, { particles: 0 }, 'INVALID_OPTION'],
    [files, { maxBatch: 0 }, 'INVALID_OPTION'],
    [files, { maxBatch: 65537 }, 'INVALID_OPTION'],
    [files, { particls: 3 } as InvertAllOptions, 'INVALID_OPTION'],
    [files, { particles: 9, maxBatch: 8 }, 'BATCH_TOO_LARGE'],
    [files, { template: '[' }, 'TEMPLATE_INVALID'],
    [files, { temperature: 0, order: 'margin' }, 'IDENTICAL_PARTICLES'],
    ['a.png', {}, 'INVALID_OPTION'],
    [42, {}, 'INVALID_OPTION'],
    [undefined, {}, 'INVALID_OPTION'],
  ];
  for (const [items, options, code] of refused) {
    const error = t.throws(() => inverter.invertAll(items as ImageItems, options), { instanceOf: FkinvError });
    t.is(error.code, code, JSON.stringify(options));
  }
});

test('an iterable that throws: what came before is given, then INPUT_FAILED with its cause', async (t) => {
  const cause = new Error('the disk is gone');
  function* failing(): Generator<string> {
    yield file(0);
    yield file(1);
    throw cause;
  }
  for (const items of [failing(), later(failing()), [file(0), file(1), Promise.reject(cause)]]) {
    const seen: string[] = [];
    const error = await t.throwsAsync(
      async () => {
        for await (const result of inverter.invertAll(items, quick)) seen.push(inversion(t, result).prompt);
      },
      { instanceOf: FkinvError, code: 'INPUT_FAILED' },
    );
    t.is(error.cause, cause);
    t.is(seen.length, 2);
  }
});

test('a consumer that stops half way closes the source, and nothing goes on', async (t) => {
  let read = 0;
  let closed = 0;
  function* source(): Generator<string> {
    try {
      for (;;) {
        read++;
        yield file(read % files.length);
      }
    } finally {
      closed++;
    }
  }
  let steps = 0;
  for await (const result of inverter.invertAll(source(), { ...quick, maxBatch: 12, onStep: () => steps++ })) {
    inversion(t, result);
    break;
  }
  t.true(read <= 13, 'three times the four that can be in flight, and the one that was given');
  t.is(closed, 1);
  const before = { read, steps };
  await setTimeout(50);
  t.deepEqual({ read, steps }, before, 'nothing goes on');

  const results = inverter.invertAll(source(), { ...quick, maxBatch: 3 });
  await results.next();
  await t.throwsAsync(results.throw(new Error('enough')), { message: 'enough' });
  t.is(closed, 2);
  t.deepEqual(await results.next(), { done: true, value: undefined });
  t.is(typeof (await inverter.invert(file(0), quick)).prompt, 'string', 'the engine is free');
});

test('the source is read ahead of the results by three times what can be in flight, or twice as they finish', async (t) => {
  let read = 0;
  function* source(): Generator<string> {
    for (;;) yield file(read++ % files.length);
  }
  for (const ordered of [true, false]) {
    read = 0;
    let given = 0;
    const options = { ...quick, maxBatch: 9 };
    const results = ordered
      ? inverter.invertAll(source(), options)
      : inverter.invertAll(source(), { ...options, ordered: false });
    for await (const result of results) {
      t.false(result instanceof FkinvError);
      await setTimeout(20);
      const ahead = ordered ? 9 : 6;
      t.true(read <= ahead + ++given);
      t.true(read >= ahead, 'it reads while it is not asked');
      if (given === 12) break;
    }
  }
});

test('results as they finish: each once, with its place; one that takes long holds up no other', async (t) => {
  const alone = await own(t);
  const places: number[] = [];
  const items = files.map((image, seed): ImageItem => ({
    image: seed === 5 ? '/no/such/file.png' : image,
    seed,
    ...(seed === 0 && { steps: 60 }),
  }));
  for await (const { index, result } of alone.invertAll(items, { ...quick, maxBatch: 6, ordered: false })) {
    if (index === 5) t.true(result instanceof FkinvError && result.code === 'IMAGE_NOT_FOUND');
    else if (index === 0) t.is(inversion(t, result).trace.length, 61);
    else
      t.deepEqual(
        essence(inversion(t, result)),
        essence(await inverter.invert(file(index), { ...quick, seed: index })),
      );
    places.push(index);
  }
  t.deepEqual(
    places.toSorted((a, b) => a - b),
    [...files.keys()],
  );
  t.true(places.indexOf(0) > 3, places.join(' '));
  t.throws(() => inverter.invertAll(files, { ordered: 'no' } as unknown as InvertAllOptions), {
    code: 'INVALID_OPTION',
  });
});

test('an abort or a disposal is seen while the source is waited for', async (t) => {
  async function* stalling(): AsyncGenerator<string> {
    yield file(0);
    await new Promise(() => undefined);
  }
  const controller = new AbortController();
  const results = inverter.invertAll(stalling(), { ...quick, maxBatch: 3, signal: controller.signal });
  t.false((await results.next()).value instanceof FkinvError);
  const next = results.next();
  await setTimeout(20);
  controller.abort('enough');
  t.is((await t.throwsAsync(next, { instanceOf: FkinvError, code: 'ABORTED' })).cause, 'enough');

  const other = await Inverter.load({ threads: 1 });
  const waiting = other.invertAll(stalling(), quick).next();
  await setTimeout(20);
  await Promise.all([t.throwsAsync(waiting, { instanceOf: FkinvError, code: 'DISPOSED' }), other.dispose()]);
});

test('results that are done are given after an abort; after the last there is none to abort', async (t) => {
  const controller = new AbortController();
  const { signal } = controller;
  const seen: Inversion[] = [];
  const alone = await own(t);
  try {
    for await (const result of alone.invertAll(files.slice(0, 4), { ...quick, signal })) {
      seen.push(inversion(t, result));
      controller.abort();
    }
  } catch (error) {
    t.is((error as FkinvError).code, 'ABORTED');
    t.true(seen.length < 4, 'a busy machine had not done all');
  }
  t.true(seen.length >= (seen[0]?.timings.images ?? 4), 'those that were done together are given');
});

test('every source that is left is closed, and one that fails gives INPUT_FAILED', async (t) => {
  let closed = 0;
  const source = (next: () => unknown, close?: () => unknown): ImageItems =>
    ({ [Symbol.iterator]: () => ({ next, return: close ?? (() => (closed++, { done: true })) }) }) as ImageItems;
  const cause = new Error('on purpose');
  const fail = (): never => {
    throw cause;
  };
  const good = (): unknown => ({ done: false, value: file(0) });

  await t.throwsAsync(
    collect(
      source(() => ({ value: Promise.reject(cause) })),
      quick,
    ),
    { code: 'INPUT_FAILED' },
  );
  t.is(closed, 1, 'an item that rejects leaves the iterable open');
  await inverter.invertAll(source(good), quick).return();
  t.is(closed, 1, 'an iteration that never began has opened nothing');
  await t.throwsAsync(collect(source(fail), quick), { code: 'INPUT_FAILED' });
  t.is(closed, 1, 'an iterator that throws is over');
  for (const items of [{ [Symbol.iterator]: fail }, source(() => 1)] as ImageItems[]) {
    await t.throwsAsync(collect(items, quick), { instanceOf: FkinvError, code: 'INPUT_FAILED' });
  }
  const results = inverter.invertAll(source(good, fail), { ...quick, maxBatch: 3 });
  await results.next();
  t.is((await t.throwsAsync(results.return(), { instanceOf: FkinvError, code: 'INPUT_FAILED' })).cause, cause);
  for (const items of [{ [Symbol.iterator]: 1 }, {}] as unknown as ImageItems[]) {
    t.throws(() => inverter.invertAll(items), { instanceOf: FkinvError, code: 'INVALID_OPTION' });
  }
  const synchronous = { [Symbol.asyncIterator]: null, [Symbol.iterator]: () => [file(0)].values() };
  t.is((await collect(synchronous as unknown as ImageItems, quick)).length, 1);
});

test('images that are errors are read no further ahead; an option that is undefined is left out', async (t) => {
  let read = 0;
  function* wrong(): Generator<ImageItem> {
    for (;;) {
      read++;
      yield { image: file(0), particles: 0 };
    }
  }
  for await (const result of inverter.invertAll(wrong(), { ...quick, maxBatch: 12 })) {
    t.true(result instanceof FkinvError);
    break;
  }
  t.true(read <= 13);
  const throwing = Object.defineProperty({}, 'image', {
    get: () => {
      throw new TypeError('on purpose');
    },
  }) as ImageItem;
  const left = { image: file(1), seed: undefined, particles: undefined, signal: undefined } as unknown as ImageItem;
  const [first, second] = await collect([throwing, left], { ...quick, seed: 5 });
  t.true(first instanceof FkinvError && first.code === 'INVALID_OPTION');
  t.deepEqual(essence(inversion(t, second)), essence(await inverter.invert(file(1), { ...quick, seed: 5 })));
});

test('onStep is given each image’s steps with its place in the call', async (t) => {
  const calls: string[] = [];
  await collect(files.slice(0, 3), {
    ...quick,
    maxBatch: 6,
    onStep: ({ step }, index) => calls.push(`${index}:${step}`),
  });
  const of = (index: number): string[] => calls.filter((call) => call.startsWith(`${index}:`));
  for (const index of [0, 1, 2])
    t.deepEqual(
      of(index),
      [0, 1, 2, 3].map((step) => `${index}:${step}`),
    );
  t.is(calls.length, 12);
  const thrown = new Error('on purpose');
  const failing = inverter.invertAll(files, {
    ...quick,
    onStep: () => {
      throw thrown;
    },
  });
  t.is(await t.throwsAsync(failing.next()), thrown);
});

test('an abort ends the iteration; after completion it has no effect', async (t) => {
  const controller = new AbortController();
  const reason = new Error('the caller’s own');
  const alone = await own(t);
  const results = alone.invertAll(files, {
    ...quick,
    maxBatch: 3,
    signal: controller.signal,
    onStep: ({ step }, index) => {
      if (index === 3 && step === 1) controller.abort(reason);
    },
  });
  const seen: Inversion[] = [];
  const error = await t.throwsAsync(
    async () => {
      for await (const result of results) seen.push(inversion(t, result));
    },
    { instanceOf: FkinvError, code: 'ABORTED' },
  );
  t.is(error.cause, reason);
  t.is(seen.length, 3);

  const after = new AbortController();
  const { signal } = after;
  const whole = await collect(files.slice(0, 4), { ...quick, signal });
  const one = await inverter.invert(file(0), { ...quick, signal });
  const before = JSON.stringify([whole, one]);
  t.is(getEventListeners(signal, 'abort').length, 0, 'no listener stays');
  after.abort();
  await setImmediate();
  t.is(JSON.stringify([whole, one]), before);
  t.is(typeof (await inverter.invert(file(0), quick)).prompt, 'string');
});

test('dispose mid-way ends the iteration with DISPOSED', async (t) => {
  const other = await Inverter.load({ threads: 1 });
  const events = new EventEmitter();
  const results = other.invertAll(files, { ...quick, maxBatch: 3, onStep: ({ step }) => events.emit('step', step) });
  await results.next();
  const next = results.next();
  await once(events, 'step');
  const [error] = await Promise.all([
    t.throwsAsync(next, { instanceOf: FkinvError, code: 'DISPOSED' }),
    other.dispose(),
  ]);
  t.truthy(error);
  t.throws(() => other.invertAll(files), { instanceOf: FkinvError, code: 'DISPOSED' });
});

test('several images as one reference: their average, in any order; of one it is the image itself', async (t) => {
  const [a, b] = [path.join(root, 'examples', 'bells.png'), path.join(root, 'examples', 'squids.png')];
  const one = await inverter.invert([a], quick);
  t.deepEqual(essence(one), essence(await inverter.invert(a, quick)));
  const both = await inverter.invert([a, b], quick);
  t.deepEqual(essence(both), essence(await inverter.invert([b, a], quick)), 'a sum of two does not know their order');
  t.notDeepEqual(both.trace, one.trace);
  t.is((await inverter.invert([a, a], quick)).prompt, one.prompt);
  const [listed] = await collect([[a, b]], quick);
  t.deepEqual(essence(inversion(t, listed)), essence(both));
  const missing = inverter.invert([a, '/no/such/file.png'], quick);
  await t.throwsAsync(missing, { instanceOf: FkinvError, code: 'IMAGE_NOT_FOUND' });
  await t.throwsAsync(inverter.invert([], quick), { instanceOf: FkinvError, code: 'INVALID_OPTION' });
});

test('any list of images and batch: every place has its own result', async (t) => {
  const kinds = ['good', 'missing', 'other options'] as const;
  const alone = new Map<string, unknown>();
  for (const seed of [0, 1, 2]) {
    for (const steps of [2, 3]) {
      alone.set(`${seed} ${steps}`, essence(await inverter.invert(file(seed), { ...quick, seed, steps })));
    }
  }
  const lists = fc.array(fc.tuple(fc.constantFrom(...kinds), fc.integer({ min: 0, max: 2 })), { maxLength: 7 });
  await fc.assert(
    fc.asyncProperty(lists, fc.integer({ min: 3, max: 12 }), fc.boolean(), async (list, maxBatch, isAsync) => {
      const items = list.map(([kind, seed]) => ({
        image: kind === 'missing' ? '/no/such/file.png' : file(seed),
        seed,
        ...(kind === 'other options' && { steps: 2 }),
      }));
      const results = await collect(isAsync ? later(items) : items, { ...quick, maxBatch });
      t.is(results.length, list.length);
      for (const [i, [kind, seed]] of list.entries()) {
        const result = results[i];
        if (kind === 'missing') t.true(result instanceof FkinvError && result.code === 'IMAGE_NOT_FOUND');
        else t.deepEqual(essence(inversion(t, result)), alone.get(`${seed} ${kind === 'good' ? 3 : 2}`));
      }
    }),
    { numRuns: 25 },
  );
});
