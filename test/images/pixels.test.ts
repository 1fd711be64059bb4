// What becomes of the pixels, checked against computations of their own.
import test from 'ava';
import { Inverter } from 'fkinv-native';
import sharp from 'sharp';
import {
  agrees,
  cheap,
  deviation,
  disc,
  encoder,
  level,
  mean,
  near,
  outcome,
  planes,
  png,
  prepare,
  raw,
  stored,
  untouched,
} from '../helpers/pictures';

let inverter: Inverter;
test.before(async () => {
  inverter = await Inverter.load();
});
test.after.always(() => inverter.dispose());

test('pixel values are planes of (level / 255 − mean) / deviation', async (t) => {
  const { pixelValues, width, height } = await prepare(raw(48, 32, 3, disc));
  t.deepEqual([width, height], [48, 32]);
  near(t, pixelValues, planes(48, 32, disc), 1e-6);
});

test('do_normalize: false leaves out mean and deviation', async (t) => {
  const { pixelValues } = await prepare(raw(48, 32, 3, disc), { ...untouched, do_normalize: false });
  near(
    t,
    pixelValues,
    planes(48, 32, disc, (value) => value / 255),
    1e-6,
  );
});

test('do_rescale: false leaves out the factor', async (t) => {
  const { pixelValues } = await prepare(raw(48, 32, 3, disc), { ...untouched, do_rescale: false });
  const wanted = planes(48, 32, disc, (value, channel) => (value - (mean[channel] ?? 0)) / (deviation[channel] ?? 1));
  near(t, pixelValues, wanted, 1e-4);
});

test('with neither, the levels themselves', async (t) => {
  const config = { ...untouched, do_rescale: false, do_normalize: false };
  const { pixelValues } = await prepare(raw(48, 32, 3, disc), config);
  near(
    t,
    pixelValues,
    planes(48, 32, disc, (value) => value),
    0,
  );
});

test('rescale_factor is the config’s', async (t) => {
  const config = { ...untouched, rescale_factor: 1 / 127.5, do_normalize: false };
  const { pixelValues } = await prepare(raw(48, 32, 3, disc), config);
  near(
    t,
    pixelValues,
    planes(48, 32, disc, (value) => value / 127.5),
    1e-6,
  );
});

test('raw grey stands for all three channels', async (t) => {
  const grey = (x: number, y: number) => (7 * x + 3 * y) % 256;
  const wanted = raw(30, 20, 3, (x, y) => [grey(x, y), grey(x, y), grey(x, y)]);
  await agrees(t, await prepare(raw(30, 20, 1, (x, y) => [grey(x, y)])), wanted);
});

test('a grey PNG equals an RGB PNG of greys', async (t) => {
  const grey = (x: number, y: number) => (7 * x + 3 * y) % 256;
  const wanted = raw(30, 20, 3, (x, y) => [grey(x, y), grey(x, y), grey(x, y)]);
  const bytes = await encoder(raw(30, 20, 1, (x, y) => [grey(x, y)]))
    .toColourspace('b-w')
    .png()
    .toBuffer();
  t.is((await sharp(bytes).metadata()).channels, 1);
  await agrees(t, await prepare(bytes), wanted);
  await agrees(t, await prepare(await png(wanted)), wanted);
});

test('a 16-bit PNG equals an 8-bit one, after resizing too', async (t) => {
  const image = raw(100, 60, 3, disc);
  const bytes = await encoder(image).toColourspace('rgb16').png().toBuffer();
  t.is((await sharp(bytes).metadata()).depth, 'ushort');
  await agrees(t, await prepare(bytes), image);
  const config = { ...untouched, do_resize: true, size: { width: 20, height: 30 } };
  near(t, (await prepare(bytes, config)).pixelValues, (await prepare(image, config)).pixelValues, 1.01 * level);
});

test('a 16-bit grey PNG equals an 8-bit one', async (t) => {
  const image = raw(50, 40, 1, (x, y) => [5 * x + y / 4]);
  const bytes = await encoder(image).toColourspace('grey16').png().toBuffer();
  const { depth, channels } = await sharp(bytes).metadata();
  t.deepEqual({ depth, channels }, { depth: 'ushort', channels: 1 });
  await agrees(t, await prepare(bytes), image);
});

test('float samples are linear light from 0 to 1: a TIFF of them equals an 8-bit picture, in colours and in greys', async (t) => {
  const image = raw(64, 32, 3, (x) => [4 * x, 255 - 3 * x, 60 + x]);
  const uncompressed = { compression: 'none' } as const;
  const colours = await encoder(image).toColourspace('scrgb').tiff(uncompressed).toBuffer();
  t.like(await sharp(colours).metadata(), { depth: 'float', channels: 3 });
  await agrees(t, await prepare(colours), image, 1.01 * level);
  for (const channel of [0, 1, 2] as const) {
    const one = sharp(colours).pipelineColourspace('scrgb').extractChannel(channel).toColourspace('scrgb');
    const grey = await one.tiff(uncompressed).toBuffer();
    t.like(await sharp(grey).metadata(), { depth: 'float', channels: 1 });
    const wanted = raw(64, 32, 1, (x, y) => [image.data[3 * (64 * y + x) + channel] ?? NaN]);
    await agrees(t, await prepare(grey), wanted, 1.01 * level);
  }
});

test('a palette PNG equals an RGB one', async (t) => {
  const image = raw(40, 30, 3, (x, y) => [(x % 4) * 80, (y % 3) * 120, 40]);
  const bytes = await encoder(image).png({ palette: true, colours: 256, dither: 0 }).toBuffer();
  t.true((await sharp(bytes).metadata()).isPalette);
  await agrees(t, await prepare(bytes), image);
});

for (const alpha of [0, 1, 64, 128, 200, 254, 255]) {
  test(`alpha ${alpha} is laid onto white`, async (t) => {
    const over = (value: number) => Math.round((value * alpha + 255 * (255 - alpha)) / 255);
    const wanted = raw(48, 32, 3, (x, y) => disc(x, y).map(over));
    const rgba = raw(48, 32, 4, (x, y) => [...disc(x, y), alpha]);
    await agrees(t, await prepare(rgba), wanted, 1.01 * level);
    await agrees(t, await prepare(await png(rgba)), wanted, 1.01 * level);
    const greys = raw(48, 32, 2, (x, y) => [3 * x + y, alpha]);
    const wantedGrey = raw(48, 32, 1, (x, y) => [over(3 * x + y)]);
    await agrees(t, await prepare(greys), wantedGrey, 1.01 * level);
    await agrees(t, await prepare(await png(greys)), wantedGrey, 1.01 * level);
  });
}

test('alpha is laid onto white before resizing: hidden colours do not bleed', async (t) => {
  const hidden = raw(64, 64, 4, (x) => (x < 32 ? [255, 0, 0, 0] : [0, 0, 255, 255]));
  const shown = raw(64, 64, 3, (x) => (x < 32 ? [255, 255, 255] : [0, 0, 255]));
  const config = { ...untouched, do_resize: true, size: { width: 10, height: 10 } };
  near(t, (await prepare(hidden, config)).pixelValues, (await prepare(shown, config)).pixelValues, 1.01 * level);
});

test('a 16-bit PNG with alpha is laid onto white', async (t) => {
  const image = raw(48, 32, 4, (x, y) => [...disc(x, y), (5 * x) % 256]);
  const bytes = await encoder(image).toColourspace('rgb16').png().toBuffer();
  t.is((await sharp(bytes).metadata()).depth, 'ushort');
  near(t, (await prepare(bytes)).pixelValues, (await prepare(image)).pixelValues, 1.01 * level);
});

for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8]) {
  test(`EXIF orientation ${orientation} is applied`, async (t) => {
    const upright = raw(48, 32, 3, disc);
    const tagged = encoder(stored(upright, orientation)).withMetadata({ orientation });
    const lossless = await tagged.clone().png().toBuffer();
    t.is((await sharp(lossless).metadata()).orientation, orientation);
    await agrees(t, await prepare(lossless), upright);

    const jpeg = { quality: 100, chromaSubsampling: '4:4:4' };
    const { pixelValues } = await prepare(await tagged.jpeg(jpeg).toBuffer());
    const wanted = await prepare(await encoder(upright).jpeg(jpeg).toBuffer());
    near(t, pixelValues, wanted.pixelValues, 6 * level);
  });
}

test('EXIF orientation is applied before resizing', async (t) => {
  const upright = raw(48, 32, 3, disc);
  const bytes = await encoder(stored(upright, 6)).withMetadata({ orientation: 6 }).png().toBuffer();
  for (const size of [{ shortest_edge: 16 }, { width: 12, height: 20 }]) {
    const config = { ...untouched, do_resize: true, size };
    const turned = await prepare(bytes, config);
    const wanted = await prepare(upright, config);
    t.deepEqual([turned.width, turned.height], [wanted.width, wanted.height]);
    near(t, turned.pixelValues, wanted.pixelValues, 1.01 * level);
  }
});

test('a CMYK JPEG is made RGB', async (t) => {
  const image = raw(48, 32, 3, (x, y) => [100 + x, 120 + y, 140 - x]);
  const bytes = await encoder(image).toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer();
  t.is((await sharp(bytes).metadata()).space, 'cmyk');
  const { width, height, pixelValues } = await prepare(bytes);
  t.deepEqual([width, height], [48, 32]);
  near(t, pixelValues, (await prepare(image)).pixelValues, 12 * level); // it went to the gamut of print and back
  t.is(typeof (await inverter.invert(bytes, cheap)).prompt, 'string');
});

test('of an animation, the first frame', async (t) => {
  const first = raw(32, 32, 3, (x) => (x < 10 ? [255, 0, 0] : [0, 0, 255]));
  const both = raw(32, 64, 3, (x, y) => (y >= 32 ? [0, 255, 0] : x < 10 ? [255, 0, 0] : [0, 0, 255]));
  const animation = sharp(both.data, { raw: { width: 32, height: 64, channels: 3, pageHeight: 32 } });
  for (const bytes of [await animation.clone().gif().toBuffer(), await animation.webp({ lossless: true }).toBuffer()]) {
    t.is((await sharp(bytes).metadata()).pages, 2);
    await agrees(t, await prepare(bytes), first);
    const result = await inverter.invert(bytes, cheap);
    t.deepEqual(outcome(result), outcome(await inverter.invert(first, cheap)));
  }
});

test('an SVG is drawn at its own size, onto white', async (t) => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="5" height="10"/></svg>';
  const wanted = raw(20, 10, 3, (x) => (x < 5 ? [0, 0, 0] : [255, 255, 255]));
  await agrees(t, await prepare(Buffer.from(svg)), wanted);
});

for (const [width, height] of [
  [1, 1],
  [1, 500],
  [3000, 1],
  [7, 2000],
] as const) {
  test(`an image of ${width} × ${height}`, async (t) => {
    const image = raw(width, height, 3, () => [200, 100, 50]);
    const config = { ...untouched, do_resize: true, size: { width: 9, height: 7 } };
    const prepared = await prepare(image, config);
    t.deepEqual([prepared.width, prepared.height], [9, 7]);
    const wanted = planes(9, 7, () => [200, 100, 50]);
    near(t, prepared.pixelValues, wanted, 1e-6);
    const result = await inverter.invert(await png(image), cheap);
    const square = raw(64, 64, 3, () => [200, 100, 50]);
    t.deepEqual(outcome(result), outcome(await inverter.invert(square, cheap)));
  });
}
