// What a program without types can do wrong: every time a FkinvError that says what was meant.
import path from 'node:path';
import test from 'ava';
import { FkinvError, Inverter } from '../lib';
import { root } from './helpers/models-demo';

const bells = path.join(root, 'examples', 'bells.png');

type Calls = Record<string, (inverter: Inverter) => unknown>;
const any = (value: unknown): never => value as never;

const calls: Calls = {
  'unknown key "particls" (did you mean particles?)': (inverter) => inverter.invert(bells, any({ particls: 3 })),
  'unknown key "lambda_clip" (did you mean lambdaClip?)': (inverter) => inverter.invert(bells, any({ lambda_clip: 3 })),
  'unknown key "topk" (did you mean topK?); unknown key "step" (did you mean steps?)': (inverter) =>
    inverter.invertAll([bells], any({ topk: 3, step: 2 })),
  'options of invert: unknown key "zebra"': (inverter) => inverter.invert(bells, any({ zebra: 3 })),
  'options of load: unknown key "thread" (did you mean threads?)': () => Inverter.load(any({ thread: 3 })),
  'options of invertAll: Invalid input: expected object, received null': (inverter) =>
    inverter.invertAll([bells], any(null)),
  'options of invertAll: signal: must be an AbortSignal': (inverter) => inverter.invertAll([bells], any({ signal: 5 })),
  'not undefined': (inverter) => inverter.invert(any(Object.assign([bells], { 2: bells }))),
  'not null': (inverter) => inverter.invert(any([bells, null])),
  'not a Proxy: give what it stands for': (inverter) => inverter.invert(new Proxy(Buffer.from([1, 2, 3]), {})),
  'new Inverter: use await Inverter.load() instead': () =>
    new (Inverter as unknown as new (options: object) => Inverter)({ threads: 2 }),
};

test('each is told what was meant', async (t) => {
  await using inverter = await Inverter.load();
  for (const [message, call] of Object.entries(calls)) {
    const error = await t.throwsAsync(async () => await call(inverter), { instanceOf: FkinvError }, message);
    t.is(error.code, 'INVALID_OPTION');
    t.true(error.message.endsWith(message), error.message);
  }
  const data = new Proxy(new Uint8Array(3), {});
  const raw = inverter.invert({ data, width: 1, height: 1, channels: 3 });
  const { message } = await t.throwsAsync(raw, { instanceOf: FkinvError, code: 'INVALID_PIXELS' });
  t.is(message, 'raw pixels: data: must be a Uint8Array, and no Proxy of one');
});
