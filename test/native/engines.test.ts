// Several engines behind one Inverter, as on a machine of several GPUs: here each is on the processor.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { loadScenes } from '../../bench/scenes';
import {
  FkinvError,
  Inverter,
  type ImageItem,
  type ImageItems,
  type Inversion,
  type InvertAllOptions,
  type TraceStep,
} from '../../lib';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { Replicas } from '../../lib/models/replicas';
import { ModelFolder } from '../../lib/models/model-folder';
import type { Models } from '../../lib/models/replicas';
import { cpuEngine } from '../helpers/cpu-engine';
import { root } from '../helpers/models-demo';

const quick = { particles: 3, steps: 3, length: 10 };
const oneImage = { ...quick, maxBatch: 3 };
const files = loadScenes()
  .slice(0, 30)
  .map(({ file }) => file);
const file = (i: number): string => files[i] ?? '';

const demo = { dllm: path.join(root, 'models', 'dllm'), clip: path.join(root, 'models', 'clip') };

async function modelsOf(folders: typeof demo): Promise<Models> {
  const engine = cpuEngine(1);
  const clip = await Clip.load(engine, new ModelFolder(folders.clip));
  return { engine, clip, dllm: await Dllm.load(engine, new ModelFolder(folders.dllm), clip) };
}

/** An Inverter over an engine of its own for each of these models. */
async function load(...folders: [typeof demo, ...(typeof demo)[]]): Promise<{ inverter: Inverter; engines: Replicas }> {
  const [first, ...others] = folders;
  const engines = new Replicas([await modelsOf(first), ...(await Promise.all(others.map(modelsOf)))]);
  // What Inverter.load() does, but for the engines.
  return { inverter: Reflect.construct(Inverter, [engines, 1000, () => undefined]) as Inverter, engines };
}

let one: Inverter;
let three: Inverter;
test.before(async () => {
  one = (await load(demo)).inverter;
  three = (await load(demo, demo, demo)).inverter;
});
test.after.always(() => Promise.all([one.dispose(), three.dispose()]));

/** What a seed decides; of what failed its message. */
function essence(result: Inversion | FkinvError): unknown {
  if (result instanceof FkinvError) return `${result.code}: ${result.message}`;
  const { prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace } = result;
  return { prompt, rewardClip, rewardEdit, logProb, tokens, coupling, particles, trace };
}

async function collect(
  inverter: Inverter,
  items: ImageItems,
  options: InvertAllOptions,
): Promise<(Inversion | FkinvError)[]> {
  const results = [];
  for await (const result of inverter.invertAll(items, options)) results.push(result);
  return results;
}

/** A promise, and what resolves it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open: () => open() };
}

test('thirty scenes over three engines: what one engine gives, in the same order, failures in their places', async (t) => {
  const items = files.map((image, seed): ImageItem => {
    if (seed === 7) return { image: '/no/such/file.png', seed };
    if (seed === 11) return { image, steps: 0 };
    return { image, seed, ...(seed % 8 === 3 && { steps: 9 }) };
  });
  for (const maxBatch of [3, 6, 64]) {
    const alone = await collect(one, items, { ...quick, maxBatch });
    const spread = await collect(three, items, { ...quick, maxBatch });
    t.is(spread.length, 30);
    t.deepEqual(spread.map(essence), alone.map(essence));
    const failed = [...spread.keys()].filter((i) => spread[i] instanceof FkinvError);
    t.deepEqual(failed, [7, 11]);
  }
});

test('concurrent calls of invert over three engines give what each gives alone', async (t) => {
  const images = files.slice(0, 7);
  const spread = await Promise.all(images.map((image, seed) => three.invert(image, { ...quick, seed })));
  for (const [seed, image] of images.entries()) {
    t.deepEqual(essence(spread[seed] ?? t.fail()), essence(await one.invert(image, { ...quick, seed })));
  }
});

test('an engine does not wait for one that is slower; images are read nine ahead at most', async (t) => {
  let read = 0;
  function* source(): Generator<ImageItem> {
    for (const [i, image] of files.slice(0, 8).entries()) {
      read++;
      yield i === 0 ? { image, steps: 900 } : image;
    }
  }
  const ends: number[] = [];
  const onStep = ({ step, steps }: TraceStep, index: number): unknown => step === steps && ends.push(index);
  const results = three.invertAll(source(), { ...oneImage, onStep });
  const seen: string[] = [];
  const readAt: number[] = [];
  for await (const result of results) {
    readAt.push(read);
    seen.push(result instanceof FkinvError ? result.message : result.prompt);
  }
  t.is(ends.at(-1), 0, 'the first has as many steps as 225 of the others');
  t.is(readAt[0], 8);
  const alone = files.slice(0, 8).map((image, i) => one.invert(image, { ...quick, ...(i === 0 && { steps: 900 }) }));
  t.deepEqual(
    seen,
    (await Promise.all(alone)).map(({ prompt }) => prompt),
  );
});

test('what is done is given while the source is waited for; leaving it then waits for nothing', async (t) => {
  async function* stalling(): AsyncGenerator<string> {
    yield file(0);
    await new Promise(() => undefined);
  }
  for await (const result of three.invertAll(stalling(), oneImage)) {
    t.deepEqual(essence(result), essence(await one.invert(file(0), quick)));
    break;
  }
  const controller = new AbortController();
  const results = three.invertAll(stalling(), { ...oneImage, signal: controller.signal });
  t.false((await results.next()).value instanceof FkinvError);
  const next = results.next();
  await setTimeout(20);
  controller.abort('enough');
  t.is((await t.throwsAsync(next, { instanceOf: FkinvError, code: 'ABORTED' })).cause, 'enough');
});

/** Images without end; what was read of them, how often they were closed, and the steps of all. */
function endless(): {
  items: Iterable<string>;
  onStep: () => unknown;
  counts: Record<'read' | 'closed' | 'steps', number>;
} {
  const counts = { read: 0, closed: 0, steps: 0 };
  function* source(): Generator<string> {
    try {
      for (;;) yield file(counts.read++ % files.length);
    } finally {
      counts.closed++;
    }
  }
  return { items: source(), onStep: () => counts.steps++, counts };
}

/** Waits, and sees that nothing goes on. */
async function isStill(t: ExecutionContext, counts: Record<string, number>): Promise<void> {
  const before = { ...counts };
  await setTimeout(100);
  t.deepEqual(counts, before);
}

test('a consumer that stops half way ends all engines’ batches and closes the source', async (t) => {
  const { items, onStep, counts } = endless();
  for await (const result of three.invertAll(items, { ...oneImage, steps: 200, onStep })) {
    t.false(result instanceof FkinvError);
    break;
  }
  t.is(counts.closed, 1);
  t.true(counts.read <= 10);
  await isStill(t, counts);

  const cause = new Error('on purpose');
  const failing = {
    [Symbol.iterator]: () => ({ next: () => ({ value: file(0) }), return: () => Promise.reject(cause) }),
  };
  const results = three.invertAll(failing as unknown as ImageItems, oneImage);
  await results.next();
  t.is((await t.throwsAsync(results.return(), { instanceOf: FkinvError, code: 'INPUT_FAILED' })).cause, cause);
  t.is(typeof (await three.invert(file(0), quick)).prompt, 'string');
});

test('an abort, and what onStep throws, end all engines’ batches', async (t) => {
  const reason = new Error('enough');
  for (const how of ['abort', 'throw'] as const) {
    const controller = new AbortController();
    const { items, onStep, counts } = endless();
    const results = three.invertAll(items, {
      ...oneImage,
      signal: controller.signal,
      onStep: ({ step }, index) => {
        onStep();
        if (index !== 4 || step !== 1) return;
        if (how === 'throw') throw reason;
        controller.abort(reason);
      },
    });
    let given = 0;
    const error = await t.throwsAsync(async () => {
      for await (const result of results) {
        t.false(result instanceof FkinvError);
        given++;
      }
    });
    if (how === 'throw') t.is(error, reason);
    else t.true(error instanceof FkinvError && error.code === 'ABORTED' && error.cause === reason);
    t.true(given <= 4);
    t.is(counts.closed, 1);
    await isStill(t, counts);
  }
});

test('an iterable that throws: what came before is given, then INPUT_FAILED', async (t) => {
  function* failing(): Generator<string> {
    yield* files.slice(0, 4);
    throw new Error('the disk is gone');
  }
  let given = 0;
  await t.throwsAsync(
    async () => {
      for await (const result of three.invertAll(failing(), oneImage)) given += result instanceof FkinvError ? 0 : 1;
    },
    { instanceOf: FkinvError, code: 'INPUT_FAILED' },
  );
  t.is(given, 4);
});

test('a disposal ends the batches of all engines, and waits for each', async (t) => {
  const { inverter, engines } = await load(demo, demo, demo);
  const { items, onStep, counts } = endless();
  const { opened: begun, open } = gate();
  const results = inverter.invertAll(items, {
    ...oneImage,
    steps: 500,
    onStep: (_, index) => {
      onStep();
      if (index === 1) open();
    },
  });
  const next = results.next();
  const inverted = inverter.invert(file(0), { ...quick, steps: 500 });
  await begun;
  await Promise.all([
    t.throwsAsync(next, { instanceOf: FkinvError, code: 'DISPOSED' }),
    t.throwsAsync(inverted, { instanceOf: FkinvError, code: 'DISPOSED' }),
    inverter.dispose(),
  ]);
  for (const { engine } of engines.all) t.throws(() => engine.measureLimits(), { code: 'DISPOSED' });
  await isStill(t, counts);
});

test('an engine that fails spoils its own batches, and no other; a profile is of the first engine', async (t) => {
  const fixtures = path.join(__dirname, '..', 'fixtures', 'models');
  const folderOf = (graph: string): typeof demo => {
    const dllm = mkdtempSync(path.join(tmpdir(), 'fkinv-engines-'));
    t.teardown(() => rmSync(dllm, { recursive: true }));
    cpSync(path.join(fixtures, 'dllm'), dllm, { recursive: true });
    cpSync(path.join(fixtures, 'graphs', graph), path.join(dllm, 'model.onnx'));
    writeFileSync(path.join(dllm, 'fkinv.json'), '{ "condition": "none" }');
    return { dllm, clip: path.join(fixtures, 'clip') };
  };
  const [good, broken] = [folderOf('dllm_plain.onnx'), folderOf('dllm_breaks.onnx')];
  await using inverter = (await load(good, broken, good)).inverter;
  await using alone = (await load(good)).inverter;
  const options = { particles: 2, steps: 3, length: 3, lambdaClip: 1 };
  const expected = await Promise.all(
    files.slice(0, 12).map(async (image, seed) => essence(await alone.invert(image, { ...options, seed }))),
  );
  const items = files.slice(0, 12).map((image, seed) => ({ image, seed }));
  // Which engine an image goes to depends on which are free: twelve at a time, until both kinds have had some.
  const seen = { done: 0, failed: 0 };
  while (seen.done === 0 || seen.failed === 0) {
    const [profile, results] = await Promise.all([
      inverter.profile(file(0), { ...options, seed: 0 }),
      collect(inverter, items, { ...options, maxBatch: 2 }),
    ]);
    t.deepEqual(essence(profile.inversion), expected[0]);
    for (const [i, result] of results.entries()) {
      seen[result instanceof FkinvError ? 'failed' : 'done']++;
      if (result instanceof FkinvError) t.is(result.code, 'MODEL_RUN');
      else t.deepEqual(essence(result), expected[i]);
    }
  }
  for (const seed of [0, 1, 2]) {
    t.deepEqual(essence((await inverter.profile(file(seed), { ...options, seed })).inversion), expected[seed]);
  }
});
