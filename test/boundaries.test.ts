// Whatever comes in at the boundaries of the package gives a result or a FkinvError with a known code, and the Inverter
// goes on.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { errorCodes, FkinvError, Inverter, type InvertOptions, type RawImage } from 'fkinv-native';

const fixtures = path.join(__dirname, 'fixtures', 'models');
const clip = path.join(fixtures, 'clip');
const image: RawImage = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 };
const quick = { particles: 2, steps: 2, length: 4, lambdaClip: 1 };

let inverter: Inverter;
let expected: string;
test.before(async () => {
  inverter = await Inverter.load({ dllm: path.join(fixtures, 'dllm'), clip, threads: 1 });
  expected = (await inverter.invert(image, quick)).prompt;
});
test.after.always(() => inverter.dispose());

/** Resolves to the code it failed with, if it did. */
async function codeOf(t: ExecutionContext, call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
    return 'none';
  } catch (error) {
    if (!(error instanceof FkinvError)) return t.fail(`no FkinvError: ${String(error)}`);
    t.true(error.code in errorCodes && error.code !== 'INTERNAL', `${error.code}: ${error.message}`);
    return error.code;
  }
}

const junk = fc.oneof(fc.constantFrom(null, NaN, Infinity, -1, 0, 1e300, '', 'x', true, {}, [], [[]]), fc.anything());
const option = (...good: fc.Arbitrary<unknown>[]): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 9, arbitrary: fc.oneof(...good) }, { weight: 1, arbitrary: junk });
const options = fc.record(
  {
    length: option(fc.integer({ min: 1, max: 9 })),
    minLength: option(fc.integer({ min: 1, max: 9 })),
    template: option(fc.constantFrom('red[2]', '[3]', '[', '[0]', 'red[1]cat[2]', '[9]')),
    banned: option(fc.array(fc.constantFrom('red', 'cat', 'green tree', 'sky', 4, 11), { maxLength: 4 })),
    particles: option(fc.integer({ min: 1, max: 4 })),
    steps: option(fc.integer({ min: 1, max: 4 })),
    order: option(fc.constantFrom('random', 'confidence', 'entropy', 'margin')),
    blockLength: option(fc.integer({ min: 1, max: 9 })),
    guesses: option(fc.integer({ min: 1, max: 3 })),
    resampling: option(fc.constantFrom('multinomial', 'stratified', 'residual', 'systematic')),
    essThreshold: option(fc.double({ min: 0, max: 1, noNaN: true })),
    lambdaClip: option(fc.double({ min: 0, max: 100, noNaN: true })),
    temperature: option(fc.constantFrom(0, 0.06, 0.7, 1, 10)),
    topK: option(fc.integer({ min: 1, max: 20 })),
    topP: option(fc.double({ min: 0.01, max: 1, noNaN: true })),
    seed: option(fc.integer({ min: 0 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
  },
  { requiredKeys: [] },
);

test('any options', async (t) => {
  const codes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(options, async (given) => {
      codes.add(await codeOf(t, () => inverter.invert(image, { steps: 2, ...given } as InvertOptions)));
    }),
    { numRuns: 400, seed: 20261125 },
  );
  t.true(codes.has('none') && codes.has('INVALID_OPTION') && codes.has('TEMPLATE_INVALID'), [...codes].join());
  t.is((await inverter.invert(image, quick)).prompt, expected);
});

test('any bytes, and raw pixels of any size', async (t) => {
  const side = fc.oneof(fc.integer({ min: 1, max: 12 }), junk);
  const raw = fc.record({ data: fc.uint8Array({ maxLength: 60 }), width: side, height: side, channels: side });
  const codes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.oneof(raw, fc.uint8Array({ maxLength: 60 })), async (given) => {
      codes.add(await codeOf(t, () => inverter.invert(given as RawImage, quick)));
    }),
    { numRuns: 200, seed: 20261125 },
  );
  t.true(codes.has('INVALID_PIXELS') && codes.has('IMAGE_INVALID'), [...codes].join());
  t.is((await inverter.invert(image, quick)).prompt, expected);
});

test('any manifest', async (t) => {
  const dllm = mkdtempSync(path.join(tmpdir(), 'fkinv-boundaries-'));
  t.teardown(() => rmSync(dllm, { recursive: true }));
  cpSync(path.join(fixtures, 'dllm'), dllm, { recursive: true });
  const id = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 3, max: 11 }) }, { weight: 1, arbitrary: junk });
  const manifest = fc.record(
    {
      maskId: option(id),
      stopIds: option(fc.array(id, { maxLength: 3 })),
      suppressedIds: option(fc.array(id, { maxLength: 3 })),
      logitShift: option(fc.constantFrom(0, 1)),
      prefix: option(fc.array(id, { maxLength: 3 }), fc.constantFrom('red cat', '')),
      suffix: option(fc.array(id, { maxLength: 3 })),
      maxPositions: option(fc.integer({ min: 6, max: 9 })),
      maxBatch: option(fc.integer({ min: 1, max: 9 })),
      defaults: option(fc.constantFrom({}, { steps: 2 }, { length: 99 }, { order: 'entropy', temperature: 0 })),
      graph: option(fc.constantFrom('model.onnx', 'model.onnx', 'config.json', '../model.onnx', 'none.onnx')),
    },
    { requiredKeys: [] },
  );
  const codes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(manifest, async (given) => {
      const json = JSON.stringify(given, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value));
      writeFileSync(path.join(dllm, 'fkinv.json'), json);
      const call = async (): Promise<void> => {
        await using loaded = await Inverter.load({ dllm, clip, threads: 1 });
        await loaded.invert(image, { particles: 1, steps: 2 });
      };
      codes.add(await codeOf(t, call));
    }),
    { numRuns: 150, seed: 20261125 },
  );
  t.true(codes.has('none') && codes.has('MODEL_INVALID'), [...codes].join());
});
