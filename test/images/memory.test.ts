// What pictures take of memory before the models: how much at a time, and what becomes of the very large.
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { FkinvError, Inverter, type Inversion } from 'fkinv-native';
import sharp from 'sharp';
import { Budget, PictureMemory } from '../../lib/images/budget';
import { planDecoding } from '../../lib/images/decode';
import { preparePicture } from '../../lib/images/prepare';
import { preprocessorSchema, type Preprocessor } from '../../lib/images/preprocessor';
import { bells } from '../helpers/fkinv';
import { cheap, deviation, mean, outcome, picture, png, prepareWithWarnings, untouched } from '../helpers/pictures';

test('a budget: first come, first served; what is more than it goes alone', async (t) => {
  const budget = new Budget(100);
  const log: string[] = [];
  let held = 0;
  const use = (name: string, bytes: number): Promise<void> =>
    budget.use(bytes, async () => {
      held += bytes;
      log.push(`${name} ${held}`);
      await setTimeout(1);
      held -= bytes;
    });
  const all = [use('a', 60), use('b', 40), use('c', 1), use('d', 250), use('e', 100), use('f', 0)];
  t.deepEqual(log, ['a 60', 'b 100'], 'what there is room for begins at once');
  await Promise.all(all);
  const order = log.map((entry) => entry.slice(0, 1)).join('');
  t.is(order, 'abcdef');
  t.true(log.includes('d 250') && log.includes('e 100'));
});

test('a budget is given back by what fails', async (t) => {
  const budget = new Budget(10);
  const failing = budget.use(10, () => Promise.reject(new Error('it failed')));
  const after = budget.use(10, () => Promise.resolve('after'));
  await t.throwsAsync(failing, { message: 'it failed' });
  t.is(await after, 'after');
});

const square = (edge: number): Preprocessor =>
  preprocessorSchema.parse({ size: { width: edge, height: edge }, image_mean: mean, image_std: deviation });

/** A budget that counts what it is asked for. */
class Counting extends Budget {
  readonly asked: number[] = [];
  override use<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    this.asked.push(bytes);
    return super.use(bytes, work);
  }
}

test('a picture is decoded once for all models, and each has what it has alone', async (t) => {
  const pixels = new Counting(2 ** 30);
  const memory = Object.assign(new PictureMemory(2 ** 30), { pixels });
  const configs = [square(20), preprocessorSchema.parse(untouched), square(200)];
  const { images } = await preparePicture(bells, configs, memory);
  const { width, height } = await sharp(bells).metadata();
  t.deepEqual(pixels.asked, [3 * width * height]);
  for (const [i, config] of configs.entries()) {
    t.deepEqual(images[i], (await preparePicture(bells, [config], memory)).images[0]);
  }
});

test('what waits for memory when its call is aborted is not decoded', async (t) => {
  const memory = new PictureMemory(1);
  const controller = new AbortController();
  let release: () => void = () => undefined;
  const holding = memory.pixels.use(1, () => new Promise<void>((resolve) => (release = resolve)));
  const waiting = preparePicture(await png(picture()), [square(20)], memory, controller.signal);
  controller.abort(new Error('enough'));
  release();
  await holding;
  await t.throwsAsync(waiting, { message: 'enough' });
});

test('maxPixelBytes: no result depends on it, not with a byte alone; its range is checked', async (t) => {
  const images = await Promise.all([50, 100, 200].map((edge) => sharp(bells).resize(edge, edge).png().toBuffer()));
  const results = await Promise.all(
    [{}, { maxPixelBytes: 1 }, { maxPixelBytes: 100_000 }].map(async (options) => {
      await using inverter = await Inverter.load({ threads: 1, ...options });
      const inversions: Inversion[] = [];
      for await (const result of inverter.invertAll(images, cheap)) {
        if (result instanceof FkinvError) throw result;
        inversions.push(result);
      }
      return inversions.map((inversion) => outcome(inversion));
    }),
  );
  t.deepEqual(results[1], results[0]);
  t.deepEqual(results[2], results[0]);
  for (const maxPixelBytes of [0, 1.5, 2 ** 40 + 1, '1']) {
    const load = Inverter.load({ maxPixelBytes: maxPixelBytes as number });
    await t.throwsAsync(load, { code: 'INVALID_OPTION', message: /maxPixelBytes/ });
  }
});

/** A JPEG whose header claims this size, for what reads headers alone. */
async function jpegHeader(width: number, height: number): Promise<Buffer> {
  const bytes = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
    .jpeg()
    .toBuffer();
  const at = bytes.indexOf(Buffer.of(0xff, 0xc0));
  bytes.writeUInt16BE(height, at + 5);
  bytes.writeUInt16BE(width, at + 7);
  return bytes;
}

const sizes: [width: number, height: number, edge: number, smaller: [number, number] | undefined][] = [
  [8192, 8192, 224, undefined], // 2^26 pixels, the most that are decoded whole
  [8193, 8192, 224, [4096, 4096]],
  [16000, 16000, 224, [8000, 8000]],
  [16383, 16383, 224, [8191, 8191]],
  [8200, 8200, 1025, [4100, 4100]], // four times the model's size
  [8200, 8200, 1026, undefined],
  [60000, 1200, 100, [30000, 600]],
  [60000, 1200, 151, undefined],
];
for (const [width, height, edge, smaller] of sizes) {
  const what = smaller === undefined ? 'whole' : `as ${smaller.join(' × ')}`;
  test(`a JPEG of ${width} × ${height} for a model of ${edge} is decoded ${what}`, async (t) => {
    const plan = await planDecoding(await jpegHeader(width, height), [square(10), square(edge)]);
    t.deepEqual(plan.smaller && [plan.smaller.width, plan.smaller.height], smaller);
    const [w, h] = smaller ?? [width, height];
    t.is(plan.bytes, 3 * w * h);
    const unresized = await planDecoding(await jpegHeader(width, height), [preprocessorSchema.parse(untouched)]);
    t.is(unresized.smaller, undefined, 'a model that wants every pixel has it');
  });
}

test('a large JPEG, turned by EXIF, is made smaller as it is read, and says so; a PNG of its size never is', async (t) => {
  const left = { create: { width: 4100, height: 8200, channels: 3, background: '#c03020' } } as const;
  const picture = sharp({ create: { ...left.create, width: 8200, background: '#2040a0' } })
    .composite([{ input: left, left: 0, top: 0 }])
    .withMetadata({ orientation: 6 }); // the left half is shown above
  const config = { ...untouched, do_resize: true, size: { width: 16, height: 16 } };
  const jpeg = await prepareWithWarnings(await picture.clone().jpeg().toBuffer(), config);
  t.deepEqual(jpeg.warnings, ['the picture of 8200 × 8200 was made 4100 × 4100 as it was read']);
  const red = Array.from(jpeg.pixelValues.subarray(0, 256), (value) => 255 * (value * deviation[0] + mean[0]));
  const off = red.map((value, i) => Math.abs(value - (i < 7 * 16 ? 0xc0 : i < 9 * 16 ? value : 0x20)));
  t.true(Math.max(...off) < 4, red.map(Math.round).join());
  const whole = await planDecoding(
    await sharp({ create: { ...left.create, width: 8200 } })
      .png({ compressionLevel: 1 })
      .toBuffer(),
    [square(16)],
  );
  t.is(whole.smaller, undefined);
});
