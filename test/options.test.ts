import { getEventListeners } from 'node:events';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import {
  errorCodes,
  FkinvError,
  Inverter,
  type ErrorCode,
  type Inversion,
  type InvertOptions,
  type LoadOptions,
  type TraceStep,
} from 'fkinv-native';

const cheap = { particles: 2, steps: 2 };
const short = { particles: 2, steps: 1, length: 5 };
const endless = { particles: 2, steps: 1000 }; // it would take seconds: only an abort ends it sooner
const image = {
  data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i % 3 === 0 ? 200 : (i >> 6) & 127)),
  width: 64,
  height: 64,
  channels: 3,
} as const;
const models = path.join(__dirname, '..', 'models');

let inverter: Inverter;
let expected: Outcome;
let expectedShort: Outcome;
test.before(async () => {
  inverter = await Inverter.load();
  expected = outcome(await inverter.invert(image, cheap));
  expectedShort = outcome(await inverter.invert(image, short));
});
test.after.always(() => inverter.dispose());

type Outcome = Omit<Inversion, 'timings'>;

/** All but the times, which alone may differ. */
function outcome(inversion: Inversion): Outcome {
  return { ...inversion, timings: undefined } as Outcome;
}

async function fails(t: ExecutionContext, call: Promise<unknown>, code: ErrorCode, ...named: string[]) {
  const error = await t.throwsAsync(call, { instanceOf: FkinvError, code });
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
  t.is(error.name, 'FkinvError');
  return error;
}

/** The same Inverter still gives what it gave at first. */
async function worksOn(t: ExecutionContext): Promise<void> {
  t.deepEqual(outcome(await inverter.invert(image, short)), expectedShort);
}

/** `options` are refused before anything runs, with a message that has all of `named`. */
async function refuses(t: ExecutionContext, options: unknown, ...named: string[]): Promise<void> {
  await fails(t, inverter.invert(image, options as InvertOptions), 'INVALID_OPTION', 'options of invert', ...named);
  await worksOn(t);
}

// Options that are refused.

const numbers: Record<string, { range: string; wrong: number[] }> = {
  length: { range: 'from 1 to', wrong: [0, -1, 1.5, 4097] },
  minLength: { range: 'from 1 to', wrong: [0, -1, 2.5, 4097] },
  particles: { range: 'from 1 to 1024', wrong: [0, -1, 0.5, 1025, 2 ** 53] },
  steps: { range: 'from 1 to 1000', wrong: [0, -1, 7.25, 1001, 2 ** 32 + 1] },
  lambdaClip: { range: 'from 0 to 10000', wrong: [-0.001, 10000.5] },
  lambdaEdit: { range: 'from 0 to 10000', wrong: [-1e-9, 1e300] },
  temperature: { range: '0 or a number from 0.06 to 10', wrong: [0.05, 0.0599, 1e-9, -1, 10.01] },
  blockLength: { range: 'from 1 to', wrong: [0, -1, 1.5, 4097] },
  guesses: { range: 'from 1 to 64', wrong: [0, 65, 1.5] },
  essThreshold: { range: 'from 0 to 1', wrong: [-0.001, 1.001] },
  topK: { range: 'from 1 to', wrong: [0, -1, 2.5, 2 ** 24 + 1] },
  topP: { range: 'above 0, to 1', wrong: [0, -0.5, 1.0001] },
  seed: { range: 'from 0 to 2^64 − 1', wrong: [-1, 0.5, 2 ** 53, 2 ** 60] },
};
for (const [name, { range, wrong }] of Object.entries(numbers)) {
  const rest = [NaN, Infinity, -Infinity, '8', '', null, true, [8], {}, () => 8];
  for (const value of [...wrong, ...rest]) {
    test(`${name}: ${inspect(value)} is refused`, async (t) => {
      await refuses(t, { ...cheap, [name]: value }, `${name}: `, range);
    });
  }
}

test('bigints are for the seed alone, from 0 to 2^64 − 1', async (t) => {
  for (const name of Object.keys(numbers).filter((key) => key !== 'seed')) {
    await refuses(t, { ...cheap, [name]: 8n }, `${name}: `);
  }
  for (const seed of [-1n, 1n << 64n, 1n << 70n]) await refuses(t, { ...cheap, seed }, 'seed: ', '2^64 − 1');
});

const others: Record<string, [wrong: unknown[], ...named: string[]]> = {
  order: [['MDLM', '', 1, null, ['random']], 'random, confidence, entropy, margin'],
  resampling: [['killing', 'Multinomial', 0, null], 'multinomial, stratified, residual, systematic'],
  template: [[1, null, ['a [2]'], { text: 'a [2]' }], 'a text'],
  couplingOver: [['words', '', 1, null, true, ['text']], '"text" or "all"'],
  signal: [[null, {}, 'now', new AbortController(), { aborted: true }, new EventTarget()], 'an AbortSignal'],
  onStep: [[null, {}, 'log', 1, Promise.resolve()], 'a function'],
};
for (const [name, [wrong, ...named]] of Object.entries(others)) {
  for (const [i, value] of wrong.entries()) {
    test(`${name}: wrong value ${i + 1} is refused`, async (t) => {
      await refuses(t, { ...cheap, [name]: value }, `${name}: `, ...named);
    });
  }
}

for (const wrong of ['cat', null, [null], [-1], [0.5], [['cat']], new Set(['cat'])]) {
  test(`banned: ${inspect(wrong)} is refused`, async (t) => {
    await refuses(t, { ...cheap, banned: wrong }, 'banned', 'words and token ids');
  });
}

test('unknown options are refused by name', async (t) => {
  await refuses(t, { ...cheap, step: 2 }, 'step');
  await refuses(t, { ...cheap, Particles: 2 }, 'Particles');
  await refuses(t, { ...cheap, lambda_clip: 2, guidance: 7.5 }, 'lambda_clip', 'guidance');
});

test('options that are no object are refused', async (t) => {
  for (const options of [null, 5, 'steps', [], true, () => cheap]) await refuses(t, options);
});

test('all faults are named at once', async (t) => {
  await refuses(t, { particles: 0, steps: 1.5, speed: 'fast' }, 'particles: ', 'steps: ', 'speed');
});

test('a length over the model’s', async (t) => {
  await refuses(t, { ...cheap, length: 33 }, 'length: 33', '32');
  await refuses(t, { ...cheap, length: 4096 }, 'length: 4096', '32');
});

test('a minLength over the length', async (t) => {
  await refuses(t, { ...cheap, length: 10, minLength: 11 }, 'minLength: 11', '10');
  await refuses(t, { ...cheap, minLength: 29 }, 'minLength: 29', '28');
});

test('options are checked before the image', async (t) => {
  await fails(t, inverter.invert('/no/such/image.png', { particles: 0 }), 'INVALID_OPTION', 'particles');
});

// Options that are taken, to the ends of their ranges.

const taken: InvertOptions[] = [
  {},
  { length: 1 },
  { length: 32, minLength: 32 },
  { length: 3 },
  { minLength: 1 },
  { particles: 1 },
  { steps: 1 },
  { lambdaClip: 0, lambdaEdit: 0 },
  { lambdaClip: 10000, lambdaEdit: 10000 },
  { temperature: 0 },
  { temperature: 0.06 },
  { temperature: 10 },
  { couplingOver: 'all' },
  { seed: 2 ** 53 - 1 },
  { seed: (1n << 64n) - 1n },
];
for (const options of taken) {
  const title = Object.entries(options).map(([name, value]) => `${name} ${String(value)}`);
  test(`taken: ${title.join(', ') || 'no more'}`, async (t) => {
    const { particles, trace, tokens, seed } = await inverter.invert(image, { ...cheap, ...options });
    t.is(particles.length, options.particles ?? 2);
    t.is(trace.length, (options.steps ?? 2) + 1);
    t.is(tokens.length, options.length ?? 28);
    t.is(seed, options.seed ?? 0);
    for (const particle of particles) {
      t.true([particle.rewardClip, particle.rewardEdit, particle.reward, particle.logProb].every(Number.isFinite));
      const first = particle.tokens.indexOf(0); // <eos>
      t.true(first === -1 || first >= (options.minLength ?? Math.min(4, tokens.length)));
    }
  });
}

test('undefined is an option left out', async (t) => {
  const options = { ...cheap, length: undefined, seed: undefined, signal: undefined, onStep: undefined };
  t.deepEqual(outcome(await inverter.invert(image, options as unknown as InvertOptions)), expected);
});

test('a seed is the same as a number and as a bigint, and all of its 64 bits count', async (t) => {
  const promptsOf = async (seed: number | bigint) => {
    const { particles } = await inverter.invert(image, { ...cheap, seed });
    return particles.map(({ tokens, slot }) => ({ tokens, slot }));
  };
  t.deepEqual(await promptsOf(12345), await promptsOf(12345n));
  t.deepEqual(await promptsOf(2 ** 53 - 1), await promptsOf(2n ** 53n - 1n));
  const distinct = [0n, 1n, 1n << 32n, 1n << 63n, (1n << 64n) - 1n];
  const all = await Promise.all(distinct.map(promptsOf));
  t.is(new Set(all.map((one) => JSON.stringify(one))).size, distinct.length);
});

test('the caller’s options stay as they were', async (t) => {
  const options = Object.freeze({ ...cheap, seed: 3 });
  await inverter.invert(image, options);
  t.deepEqual(options, { ...cheap, seed: 3 });
});

// onStep.

test('onStep is called after each step, with what ends up in the trace', async (t) => {
  const seen: TraceStep[] = [];
  const { trace } = await inverter.invert(image, { ...cheap, onStep: (step) => seen.push(step) });
  t.deepEqual(seen, trace);
  t.deepEqual(
    seen.map(({ step, steps }) => [step, steps]),
    [
      [0, 2],
      [1, 2],
      [2, 2],
    ],
  );
});

for (const at of [0, 1, 2]) {
  test(`what onStep throws at step ${at} rejects the inversion`, async (t) => {
    const mine = new RangeError('mine');
    const steps: number[] = [];
    const onStep = ({ step }: TraceStep) => {
      steps.push(step);
      if (step === at) throw mine;
    };
    t.is(await t.throwsAsync(inverter.invert(image, { ...cheap, onStep })), mine);
    t.deepEqual(
      steps,
      [0, 1, 2].filter((step) => step <= at),
    );
    await worksOn(t);
  });
}

test('inversions started from within onStep are their own', async (t) => {
  const inner: Promise<Inversion>[] = [];
  const outer = await inverter.invert(image, {
    ...cheap,
    onStep: () => void inner.push(inverter.invert(image, cheap)),
  });
  for (const result of [outer, ...(await Promise.all(inner))]) t.deepEqual(outcome(result), expected);
});

// Aborting.

test('a signal that is aborted already', async (t) => {
  const reason = { why: 'changed my mind' };
  const onStep = () => t.fail('it ran');
  const error = await fails(t, inverter.invert(image, { signal: AbortSignal.abort(reason), onStep }), 'ABORTED');
  t.is(error.cause, reason);
  await worksOn(t);
});

test('the reason of a signal is the cause, whatever it is', async (t) => {
  for (const reason of [0, null, 'text', new TypeError('mine'), new FkinvError('INTERNAL', 'mine')]) {
    const error = await fails(t, inverter.invert(image, { ...cheap, signal: AbortSignal.abort(reason) }), 'ABORTED');
    t.is(error.cause, reason);
  }
  const error = await fails(t, inverter.invert(image, { ...cheap, signal: AbortSignal.abort() }), 'ABORTED');
  t.true(error.cause instanceof DOMException);
});

for (const at of [0, 1, 2]) {
  test(`aborted from onStep, at step ${at}`, async (t) => {
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error('enough');
    const steps: number[] = [];
    const onStep = ({ step }: TraceStep) => {
      steps.push(step);
      if (step === at) controller.abort(reason);
    };
    const error = await fails(t, inverter.invert(image, { ...cheap, signal, onStep }), 'ABORTED', 'aborted');
    t.is(error.cause, reason);
    t.is(steps.at(-1), at);
    t.is(getEventListeners(signal, 'abort').length, 0);
    await worksOn(t);
  });
}

test('aborted from a timer', async (t) => {
  const controller = new AbortController();
  const { signal } = controller;
  const reason = new Error('too slow');
  let last = -1;
  const onStep = ({ step }: TraceStep) => {
    if (step === 0) setTimeout(() => controller.abort(reason), 30);
    last = step;
  };
  const error = await fails(t, inverter.invert(image, { ...endless, signal, onStep }), 'ABORTED');
  t.is(error.cause, reason);
  t.true(last < 1000);
  const reached = last;
  await worksOn(t);
  t.is(last, reached);
});

test('aborted by AbortSignal.timeout', async (t) => {
  const signal = AbortSignal.timeout(30);
  const error = await fails(t, inverter.invert(image, { ...endless, signal }), 'ABORTED');
  t.is(error.cause, signal.reason);
  t.is((error.cause as DOMException).name, 'TimeoutError');
  await worksOn(t);
});

test('aborted as soon as it was called', async (t) => {
  const controller = new AbortController();
  const call = inverter.invert(image, { ...endless, signal: controller.signal });
  controller.abort('at once');
  t.is((await fails(t, call, 'ABORTED')).cause, 'at once');
  await worksOn(t);
});

test('aborted after any number of turns of the event loop', async (t) => {
  for (let turns = 0; turns < 40; turns++) {
    const controller = new AbortController();
    const call = fails(t, inverter.invert(image, { ...endless, signal: controller.signal }), 'ABORTED');
    for (let turn = 0; turn < turns; turn++) await delay(0);
    controller.abort();
    await call;
    t.is(getEventListeners(controller.signal, 'abort').length, 0);
  }
  await worksOn(t);
});

test('an abort stops the inversions of its signal and no others', async (t) => {
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = [1, 2, 3].map((seed) => inverter.invert(image, { ...endless, seed, signal }));
  const others = [1, 2, 3].map(() => inverter.invert(image, cheap));
  const settled = Promise.all(aborted.map((call) => fails(t, call, 'ABORTED')));
  for (const result of await Promise.all(others)) t.deepEqual(outcome(result), expected);
  controller.abort('all of mine');
  for (const error of await settled) t.is(error.cause, 'all of mine');
  await worksOn(t);
});

test('an abort afterwards changes nothing', async (t) => {
  const controller = new AbortController();
  const { signal } = controller;
  const result = await inverter.invert(image, { ...cheap, signal });
  t.is(getEventListeners(signal, 'abort').length, 0);
  controller.abort();
  await delay(10);
  t.deepEqual(outcome(result), expected);
  await worksOn(t);
});

test('what onStep throws is the error when nothing was aborted, the abort when it was', async (t) => {
  const controller = new AbortController();
  const onStep = () => {
    controller.abort('mine');
    throw new Error('thrown after it');
  };
  const error = await fails(t, inverter.invert(image, { ...cheap, signal: controller.signal, onStep }), 'ABORTED');
  t.is(error.cause, 'mine');
});

test('a bad image is no abort', async (t) => {
  const { signal } = new AbortController();
  await fails(t, inverter.invert('/no/such/image.png', { ...cheap, signal }), 'IMAGE_NOT_FOUND');
});

// Disposing.

test('use after dispose', async (t) => {
  const mine = await Inverter.load();
  t.deepEqual(outcome(await mine.invert(image, cheap)), expected);
  await mine.dispose();
  await fails(t, mine.invert(image, cheap), 'DISPOSED', 'disposed');
  await fails(t, mine.invert('/no/such/image.png'), 'DISPOSED');
  await worksOn(t);
});

test('dispose twice, and at the same time', async (t) => {
  const mine = await Inverter.load();
  const [first, second] = [mine.dispose(), mine.dispose()];
  await Promise.all([first, second]);
  await mine.dispose();
  await mine[Symbol.asyncDispose]();
  await fails(t, mine.invert(image), 'DISPOSED');
});

test('await using disposes', async (t) => {
  let mine: Inverter;
  {
    await using inner = await Inverter.load();
    mine = inner;
    t.deepEqual(outcome(await inner.invert(image, cheap)), expected);
  }
  await fails(t, mine.invert(image), 'DISPOSED');
});

test('dispose from onStep rejects the inversions under way', async (t) => {
  const mine = await Inverter.load();
  const disposal: Promise<void>[] = [];
  const onStep = ({ step }: TraceStep) => {
    if (step === 3) disposal.push(mine.dispose());
  };
  const calls = [
    mine.invert(image, { ...endless, onStep }),
    mine.invert(image, { ...endless, seed: 1 }),
    mine.invert(image, { ...endless, seed: 2 }),
  ];
  await Promise.all(calls.map((call) => fails(t, call, 'DISPOSED')));
  t.is(disposal.length, 1);
  await Promise.all(disposal);
  await worksOn(t);
});

test('dispose after any number of turns of the event loop', async (t) => {
  for (const turns of [0, 1, 2, 3, 5, 8, 13, 21]) {
    const mine = await Inverter.load();
    const calls = [1, 2].map((seed) => fails(t, mine.invert(image, { ...endless, seed }), 'DISPOSED'));
    for (let turn = 0; turn < turns; turn++) await delay(0);
    await mine.dispose();
    await Promise.all(calls);
  }
  await worksOn(t);
});

test('disposed of while it is aborted: either is true, DISPOSED is said', async (t) => {
  const mine = await Inverter.load();
  const controller = new AbortController();
  const call = fails(t, mine.invert(image, { ...endless, signal: controller.signal }), 'DISPOSED');
  await delay(20);
  controller.abort();
  await mine.dispose();
  await call;
});

// Options of load.

const badLoads: Record<string, [options: unknown, ...named: string[]]> = {
  'an unknown option': [{ gpu: 0 }, 'gpu'],
  'threads 0': [{ threads: 0 }, 'threads: ', 'from 1 to 256'],
  'threads 257': [{ threads: 257 }, 'threads: ', 'from 1 to 256'],
  'half a thread': [{ threads: 1.5 }, 'threads: '],
  'threads NaN': [{ threads: NaN }, 'threads: '],
  'threads as text': [{ threads: '2' }, 'threads: '],
  'threads null': [{ threads: null }, 'threads: '],
  'dllm a number': [{ dllm: 7 }, 'dllm: ', 'a path, a file: URL or a name such as hf:org/name'],
  'dllm null': [{ dllm: null }, 'dllm: ', 'a path, a file: URL or a name such as hf:org/name'],
  'dllm an empty path': [{ dllm: '' }, 'dllm: '],
  'dllm an http: URL': [
    { dllm: new URL('http://localhost/dllm') },
    'dllm: ',
    'a path, a file: URL or a name such as hf:org/name',
  ],
  'clip an array': [{ clip: ['models/clip'] }, 'clip: ', 'a path, a file: URL or a name such as hf:org/name'],
  'clip an https: URL': [
    { clip: new URL('https://localhost/clip') },
    'clip: ',
    'a path, a file: URL or a name such as hf:org/name',
  ],
  'clip a file: URL of another host': [{ clip: new URL('file://elsewhere/clip') }, 'clip: '],
  'clip a file: URL with an encoded slash': [{ clip: new URL('file:///models%2Fclip') }, 'clip: '],
  null: [null],
  'a path': ['models'],
  'several faults': [{ threads: 0, clip: 1, models: '.' }, 'threads: ', 'clip: ', 'models'],
};
for (const [what, [options, ...named]] of Object.entries(badLoads)) {
  test(`load: ${what}`, async (t) => {
    await fails(t, Inverter.load(options as LoadOptions), 'INVALID_OPTION', 'options of load', ...named);
    await worksOn(t);
  });
}

test('load takes paths, relative ones and file: URLs', async (t) => {
  const dllm = path.join(models, 'dllm');
  const clip = path.join(models, 'clip');
  for (const options of [
    { dllm, clip },
    { dllm: path.relative('.', dllm), clip: `${path.relative('.', clip)}/` },
    { dllm: pathToFileURL(dllm), clip: pathToFileURL(`${clip}/`) },
  ]) {
    const mine = await Inverter.load(options);
    t.deepEqual(outcome(await mine.invert(image, cheap)), expected);
    await mine.dispose();
  }
});

test('results do not depend on threads', async (t) => {
  for (const threads of [1, 2, 5, 16]) {
    const mine = await Inverter.load({ threads });
    t.deepEqual(outcome(await mine.invert(image, cheap)), expected, `threads: ${threads}`);
    await mine.dispose();
  }
});

test('every code has a text, and errors are made of them', (t) => {
  for (const [code, text] of Object.entries(errorCodes)) {
    const cause = new Error('why');
    const error = new FkinvError(code as ErrorCode, 'what', { cause });
    t.true(error instanceof Error);
    t.deepEqual([error.code, error.message, error.name, error.cause], [code, 'what', 'FkinvError', cause]);
    t.regex(text, /^[A-Z].*\.$/u);
  }
});
