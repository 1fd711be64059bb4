import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { FkinvError, Inverter, type ErrorCode, type ImageInput, type Inversion, type RawImage } from 'fkinv-native';
import sharp from 'sharp';
import { z } from 'zod';
import { prepareImage, preprocessorSchema, type PreparedImage } from '../../lib/images/image';

const cheap = { particles: 2, steps: 2, length: 8 };
let inverter: Inverter;
let folder: string;
let expected: Outcome;

test.before(async () => {
  inverter = await Inverter.load();
  folder = await mkdtemp(path.join(tmpdir(), 'fkinv image ü-')); // a space and an umlaut, as people have
  expected = outcome(await inverter.invert(picture(), cheap));
});
test.after.always(async () => {
  await inverter.dispose();
  await rm(folder, { recursive: true });
});

type Outcome = Omit<Inversion, 'timings'>;

/** All but the times, which alone may differ. */
function outcome(inversion: Inversion): Outcome {
  return { ...inversion, timings: undefined } as Outcome;
}

type Colour = (x: number, y: number) => number[];

/** Raw pixels: `colour` at each place. */
function raw(width: number, height: number, channels: 1 | 2 | 3 | 4, colour: Colour): RawImage {
  const places = Array.from({ length: width * height }, (_, i) => [i % width, Math.floor(i / width)] as const);
  return { data: Uint8Array.from(places.flatMap(([x, y]) => colour(x, y))), width, height, channels };
}

/** An orange disc off the middle of a shaded ground: no symmetry takes it to itself. */
function disc(x: number, y: number): [number, number, number] {
  return (x - 24) ** 2 + (y - 36) ** 2 < 300 ? [240, 130, 30] : [60 + x, 90 + y, 160 - x];
}

function picture(): RawImage {
  return raw(64, 64, 3, disc);
}

function encoder({ data, width, height, channels }: RawImage): sharp.Sharp {
  return sharp(data, { raw: { width, height, channels } });
}

function png(image: RawImage): Promise<Buffer> {
  return encoder(image).png().toBuffer();
}

async function file(name: string, content: Uint8Array | string): Promise<string> {
  const at = path.join(folder, name);
  await writeFile(at, content);
  return at;
}

/** `image` is refused with `code` and a message that has all of `named`; the Inverter goes on as if nothing had been. */
async function refuses(t: ExecutionContext, image: unknown, code: ErrorCode, ...named: string[]): Promise<void> {
  const error = await t.throwsAsync(inverter.invert(image as ImageInput, cheap), { instanceOf: FkinvError, code });
  for (const name of named) t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
  t.deepEqual(outcome(await inverter.invert(picture(), cheap)), expected);
}

// Files and bytes that are no image.

test('a file that does not exist', async (t) => {
  const missing = path.join(folder, 'missing.png');
  await refuses(t, missing, 'IMAGE_NOT_FOUND', missing);
  await refuses(t, pathToFileURL(missing), 'IMAGE_NOT_FOUND', missing);
});

test('a path through a file', async (t) => {
  const at = path.join(await file('plain.txt', 'x'), 'image.png');
  await refuses(t, at, 'IMAGE_NOT_FOUND', at);
});

test('paths that no file can have', async (t) => {
  await refuses(t, '', 'IMAGE_NOT_FOUND');
  await refuses(t, `${folder}/a\0b.png`, 'IMAGE_NOT_FOUND', 'null bytes');
});

test('a directory', async (t) => {
  const at = path.join(folder, 'directory.png');
  await mkdir(at);
  await refuses(t, at, 'IMAGE_NOT_FOUND', 'directory');
});

test('an empty file and empty bytes', async (t) => {
  const at = await file('empty.png', '');
  await refuses(t, at, 'IMAGE_INVALID', at, 'empty');
  await refuses(t, pathToFileURL(at), 'IMAGE_INVALID', 'empty.png', 'empty');
  await refuses(t, Buffer.alloc(0), 'IMAGE_INVALID', 'empty');
});

test('a text file', async (t) => {
  const at = await file('text.png', 'This is no image, whatever its name says.\n');
  await refuses(t, at, 'IMAGE_INVALID', at, 'unsupported image format');
});

test('random bytes', async (t) => {
  const bytes = Uint8Array.from({ length: 5000 }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 13) & 255);
  await refuses(t, bytes, 'IMAGE_INVALID', 'unsupported image format');
});

for (const format of ['jpeg', 'png', 'webp', 'gif', 'tiff'] as const) {
  test(`a truncated ${format}`, async (t) => {
    const whole = await encoder(picture()).toFormat(format).toBuffer();
    for (const part of [0.03, 0.3, 0.7, 0.9]) {
      const bytes = whole.subarray(0, Math.ceil(whole.length * part));
      await refuses(t, await file(`${part}.${format}`, bytes), 'IMAGE_INVALID', `${part}.${format}`);
      await refuses(t, bytes, 'IMAGE_INVALID', 'decoded');
    }
  });
}

test('an SVG that is not well formed', async (t) => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="50" height="20"><rect';
  // libvips says that it is XML; what it says is one text for all of its threads, and another may have cleared it.
  await refuses(t, Buffer.from(svg), 'IMAGE_INVALID', 'corrupt header');
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function chunk(kind: string, content: Uint8Array): Buffer {
  const bytes = Buffer.alloc(content.length + 12);
  bytes.writeUInt32BE(content.length, 0);
  bytes.write(kind, 4, 'latin1');
  bytes.set(content, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, -4)), content.length + 8);
  return bytes;
}

/** The start of a PNG of 8-bit RGB that claims to be this large. */
function pngHeader(width: number, height: number): Buffer {
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', Uint8Array.of(0x78, 0x9c)),
  ]);
}

test('gigantic dimensions', async (t) => {
  await refuses(t, pngHeader(60000, 60000), 'IMAGE_TOO_LARGE', 'pixel limit');
  const at = await file('gigantic.png', pngHeader(16384, 16384));
  await refuses(t, at, 'IMAGE_TOO_LARGE', at, 'pixel limit');
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="60000" height="60000"/>';
  await refuses(t, Buffer.from(svg), 'IMAGE_TOO_LARGE', 'pixel limit');
});

test('dimensions just under the limit, and no pixels behind them', async (t) => {
  await refuses(t, pngHeader(16383, 16383), 'IMAGE_INVALID', 'decoded');
});

test('a PNG of no width', async (t) => {
  await refuses(t, pngHeader(0, 5), 'IMAGE_INVALID', 'decoded');
});

// Raw pixels that do not fit.

const misfits: Record<string, [change: object, ...named: string[]]> = {
  'one byte short': [{ data: new Uint8Array(23) }, '4 × 2 × 3', '24', '23'],
  'one byte long': [{ data: new Uint8Array(25) }, '24', '25'],
  empty: [{ data: new Uint8Array(0) }, '24', 'data has 0'],
  '4 channels of data for 3': [{ data: new Uint8Array(32) }, '24', '32'],
  'no channels': [{ channels: 0 }, 'channels'],
  '5 channels': [{ channels: 5, data: new Uint8Array(40) }, 'channels'],
  'channels in words': [{ channels: 'rgb' }, 'channels'],
  'width 0': [{ width: 0, data: new Uint8Array(0) }, 'width'],
  'height 0': [{ height: 0, data: new Uint8Array(0) }, 'height'],
  'negative width': [{ width: -4 }, 'width'],
  'both negative': [{ width: -4, height: -2 }, 'width', 'height'],
  'a fraction of a width': [{ width: 2.5 }, 'width'],
  'width NaN': [{ width: NaN }, 'width'],
  'infinite height': [{ height: Infinity }, 'height'],
  'width as text': [{ width: '4' }, 'width'],
  'no height': [{ height: undefined }, 'height'],
  'no data': [{ data: undefined }, 'data'],
  '16-bit data': [{ data: new Uint16Array(24) }, 'data'],
  'float data': [{ data: new Float32Array(24) }, 'data'],
  'an array of numbers': [{ data: Array.from({ length: 24 }, () => 0) }, 'data'],
  'an unknown field': [{ depth: 8 }, 'depth'],
};
for (const [what, [change, ...named]] of Object.entries(misfits)) {
  test(`raw pixels: ${what}`, async (t) => {
    const fitting = { data: new Uint8Array(24), width: 4, height: 2, channels: 3 };
    await refuses(t, { ...fitting, ...change }, 'INVALID_PIXELS', 'raw pixels', ...named);
  });
}

// Things that are no image at all.

const others: Record<string, [image: unknown, ...named: string[]]> = {
  null: [null, 'null'],
  undefined: [undefined, 'undefined'],
  'a number': [42, '42'],
  'a boolean': [true, 'true'],
  'an array': [[1, 2, 3]],
  'a function': [() => 'image.png'],
  'an object of no known shape': [{ path: 'image.png' }],
  'an object without a prototype': [Object.create(null)],
  'an ArrayBuffer': [new ArrayBuffer(100)],
  'an http: URL': [new URL('http://localhost/image.png'), 'http://localhost/image.png'],
  'a data: URL': [new URL('data:image/png;base64,iVBORw0KGgo='), 'data:image/png'],
  'a file: URL of another host': [new URL('file://elsewhere/image.png'), 'file://elsewhere/image.png'],
  'a file: URL with an encoded slash': [new URL('file:///tmp/a%2Fb.png'), 'file:///tmp/a%2Fb.png'],
};
for (const [what, [image, ...named]] of Object.entries(others)) {
  test(`no image: ${what}`, async (t) => {
    await refuses(t, image, 'INVALID_OPTION', 'image', ...named);
  });
}

test('an address given as a path is a file that does not exist', async (t) => {
  await refuses(t, 'http://localhost/image.png', 'IMAGE_NOT_FOUND', 'http://localhost/image.png');
});

// The same pixels, however they are given.

const rgb = (): RawImage => raw(64, 64, 3, disc);
const sameBytes: Record<string, () => ImageInput | Promise<ImageInput>> = {
  'a path': async () => file('a.png', await png(rgb())),
  'a relative path': async () => path.relative('.', await file('relative.png', await png(rgb()))),
  'a file: URL': async () => pathToFileURL(await file('b.png', await png(rgb()))),
  'a Buffer': () => png(rgb()),
  'a Uint8Array': async () => Uint8Array.from(await png(rgb())),
  'a Uint8Array inside a larger buffer': async () => {
    const bytes = await png(rgb());
    const larger = new Uint8Array(bytes.length + 200).fill(255);
    larger.set(bytes, 77);
    return larger.subarray(77, 77 + bytes.length);
  },
  'raw pixels inside a larger buffer': () => {
    const image = rgb();
    const larger = new Uint8Array(image.data.length + 200).fill(255);
    larger.set(image.data, 77);
    return { ...image, data: larger.subarray(77, 77 + image.data.length) };
  },
  'raw pixels with opaque alpha': () => raw(64, 64, 4, (x, y) => [...disc(x, y), 255]),
  'a PNG with opaque alpha': () => png(raw(64, 64, 4, (x, y) => [...disc(x, y), 255])),
  'a 16-bit PNG': async () => {
    const bytes = await encoder(rgb()).toColourspace('rgb16').png().toBuffer();
    if ((await sharp(bytes).metadata()).depth !== 'ushort') throw new Error('it is not 16-bit');
    return bytes;
  },
  'an interlaced PNG': () => encoder(rgb()).png({ progressive: true }).toBuffer(),
  'a TIFF': () => encoder(rgb()).tiff({ compression: 'lzw' }).toBuffer(),
  'a lossless WebP': () => encoder(rgb()).webp({ lossless: true, exact: true }).toBuffer(),
  'an extension in capitals': async () => {
    const at = path.join(folder, 'C.PNG');
    await copyFile(await file('c.png', await png(rgb())), at);
    return at;
  },
  'another extension': async () => file('d.jpg', await png(rgb())),
  'no extension': async () => file('e', await png(rgb())),
};
for (const [what, make] of Object.entries(sameBytes)) {
  test(`the same pixels as ${what}`, async (t) => {
    t.deepEqual(outcome(await inverter.invert(await make(), cheap)), expected);
  });
}

const jpegs: Record<string, sharp.JpegOptions & { orientation?: number }> = {
  'a JPEG': {},
  'a progressive JPEG of low quality': { quality: 30, progressive: true },
  'a rotated JPEG': { orientation: 6 },
  'a mirrored, rotated JPEG': { orientation: 7 },
};
for (const [what, { orientation = 1, ...how }] of Object.entries(jpegs)) {
  test(`the pixels of ${what}`, async (t) => {
    const bytes = await encoder(stored(raw(64, 64, 3, disc), orientation))
      .withMetadata({ orientation })
      .jpeg(how)
      .toBuffer();
    const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
    const upright = stored({ data, width: info.width, height: info.height, channels: 3 }, undoing(orientation));
    t.deepEqual([upright.width, upright.height], [64, 64]);
    t.deepEqual(outcome(await inverter.invert(bytes, cheap)), outcome(await inverter.invert(upright, cheap)));
  });
}

for (const format of ['jpeg', 'webp'] as const) {
  test(`a large ${format} is decoded whole, then made small`, async (t) => {
    const large = raw(256, 256, 3, (x, y) => [x, y, (17 * x * y) % 256]);
    const bytes = await encoder(large).toFormat(format).toBuffer();
    const whole = { ...large, data: await sharp(bytes).raw().toBuffer() };
    t.deepEqual(outcome(await inverter.invert(bytes, cheap)), outcome(await inverter.invert(whole, cheap)));
  });
}

test('the picture matters', async (t) => {
  const other = outcome(await inverter.invert(await png(raw(64, 64, 3, () => [250, 250, 250])), cheap));
  t.notDeepEqual(other, expected);
});

test('a path, its content and the caller’s array stay as they were', async (t) => {
  const bytes = await png(rgb());
  const copy = Buffer.from(bytes);
  const image = rgb();
  await inverter.invert(bytes, cheap);
  await inverter.invert(image, cheap);
  t.deepEqual(bytes, copy);
  t.deepEqual(image, rgb());
});

// What becomes of the pixels, checked against computations of their own.

type Config = z.input<typeof preprocessorSchema>;
const mean: [number, number, number] = [0.48, 0.4, 0.3];
const deviation: [number, number, number] = [0.25, 0.5, 0.75];
const untouched: Config = { do_resize: false, size: 8, image_mean: mean, image_std: deviation };

function prepare(image: ImageInput, config: Config = untouched): Promise<PreparedImage> {
  return prepareImage(image, preprocessorSchema.parse(config));
}

function near(t: ExecutionContext, actual: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number): void {
  t.is(actual.length, wanted.length);
  const off = Array.from(actual, (value, i) => Math.abs(value - (wanted[i] ?? NaN)));
  const worst = off.reduce((a, b) => (a >= b ? a : b), 0); // NaN stays
  t.true(worst <= tolerance, `off by ${worst}, allowed ${tolerance}`);
}

/** Pixel values of `colour` over a rectangle, as `value` has them of a channel's level. */
function planes(
  width: number,
  height: number,
  colour: Colour,
  value = (level: number, channel: number) => (level / 255 - (mean[channel] ?? 0)) / (deviation[channel] ?? 1),
): number[] {
  return [0, 1, 2].flatMap((channel) =>
    Array.from({ length: width * height }, (_, i) =>
      value(colour(i % width, Math.floor(i / width))[channel] ?? NaN, channel),
    ),
  );
}

/** One level of 255 in units of the pixel values above. */
const level = 1 / 255 / 0.25;

async function agrees(t: ExecutionContext, prepared: PreparedImage, of: RawImage, tolerance = 1e-6): Promise<void> {
  const { width, height } = of;
  t.deepEqual([prepared.width, prepared.height], [width, height]);
  near(t, prepared.pixelValues, (await prepare(of)).pixelValues, tolerance);
}

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

/** `image` as a camera that writes EXIF orientation `tag` stores it (row 0 and column 0 are the sides the tag names). */
function stored({ data, width, height, channels }: RawImage, tag: number): RawImage {
  const right = width - 1;
  const bottom = height - 1;
  const from = (column: number, row: number): [x: number, y: number] => {
    switch (tag) {
      case 2: // top, right
        return [right - column, row];
      case 3: // bottom, right
        return [right - column, bottom - row];
      case 4: // bottom, left
        return [column, bottom - row];
      case 5: // left, top
        return [row, column];
      case 6: // right, top
        return [right - row, column];
      case 7: // right, bottom
        return [right - row, bottom - column];
      case 8: // left, bottom
        return [row, bottom - column];
      default: // top, left
        return [column, row];
    }
  };
  const [w, h] = tag < 5 ? [width, height] : [height, width];
  return raw(w, h, channels, (column, row) => {
    const [x, y] = from(column, row);
    return Array.from(data.subarray((y * width + x) * channels, (y * width + x + 1) * channels));
  });
}

/** The orientation that turns back what `tag` turned: quarter turns undo each other, the rest themselves. */
function undoing(tag: number): number {
  return { 6: 8, 8: 6 }[tag] ?? tag;
}

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

// Resizing and cropping.

/** Blocks of `block` × `block` equal pixels, each of another colour. */
function blocks(columns: number, rows: number, block: number): RawImage {
  const colour: Colour = (x, y) => blockColour(Math.floor(x / block), Math.floor(y / block));
  return raw(columns * block, rows * block, 3, colour);
}

function blockColour(column: number, row: number): number[] {
  return [(column * 37 + 11) % 256, (row * 53 + 29) % 256, (column * 17 + row * 71) % 256];
}

for (const [columns, rows] of [
  [13, 8],
  [8, 13],
  [16, 8],
  [8, 8],
] as const) {
  test(`shortest_edge, then a centre crop: ${columns} × ${rows} blocks`, async (t) => {
    const config: Config = {
      ...untouched,
      do_resize: true,
      size: { shortest_edge: 8 },
      resample: 0,
      do_center_crop: true,
      crop_size: { width: 6, height: 5 },
    };
    const { width, height, pixelValues } = await prepare(blocks(columns, rows, 3), config);
    t.deepEqual([width, height], [6, 5]);
    const left = Math.floor((columns - 6) / 2);
    const top = Math.floor((rows - 5) / 2);
    const wanted = planes(6, 5, (x, y) => blockColour(left + x, top + y));
    near(t, pixelValues, wanted, 1e-6);
  });
}

test('a centre crop without resizing; sizes may be plain numbers', async (t) => {
  const { width, height, pixelValues } = await prepare(raw(48, 33, 3, disc), {
    ...untouched,
    do_center_crop: true,
    crop_size: 10,
  });
  t.deepEqual([width, height], [10, 10]);
  const wanted = planes(10, 10, (x, y) => disc(19 + x, 11 + y));
  near(t, pixelValues, wanted, 1e-6);
});

test('crop_size is nothing without do_center_crop', async (t) => {
  const config = { ...untouched, do_resize: true, size: 8, resample: 0, crop_size: 5 } as const;
  const { width, height } = await prepare(blocks(8, 8, 2), config);
  t.deepEqual([width, height], [8, 8]);
});

test('a centre crop larger than the image pads it with zeros', async (t) => {
  const config = { ...untouched, do_center_crop: true, crop_size: { width: 8, height: 4 } };
  const { width, height, pixelValues } = await prepare(raw(6, 10, 3, disc), config);
  t.deepEqual([width, height], [8, 4]);
  const wanted = planes(8, 4, (x, y) => (x < 1 || x > 6 ? [0, 0, 0] : disc(x - 1, y + 3)));
  near(t, pixelValues, wanted, 1e-6);
});

// CLIPImageProcessor's longer side is int(shortest_edge · long / short).
for (const [width, height, ...wanted] of [
  [100, 75, 10, 8],
  [75, 100, 8, 10],
  [33, 7, 37, 8],
  [20, 10, 16, 8],
  [5, 5, 8, 8],
] as const) {
  test(`shortest_edge 8 makes ${width} × ${height} ${wanted.join(' × ')}`, async (t) => {
    const config = { ...untouched, do_resize: true, size: { shortest_edge: 8 } };
    const prepared = await prepare(raw(width, height, 3, disc), config);
    t.deepEqual([prepared.width, prepared.height], wanted);
  });
}

interface Kernel {
  support: number;
  at: (x: number) => number;
}
const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const kernels: Record<1 | 2 | 3, Kernel> = {
  1: { support: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
  2: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  3: {
    support: 2,
    at: (signed) => {
      const x = Math.abs(signed);
      if (x < 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1;
      return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
    },
  },
};

/** One line resampled as PIL does: the kernel widened by the scale when shrinking, cut off at the edges. */
function resample(line: number[], size: number, { support, at }: Kernel): number[] {
  const scale = line.length / size;
  const widening = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support * widening + 0.5));
    const last = Math.min(line.length, Math.floor(centre + support * widening + 0.5));
    let sum = 0;
    let total = 0;
    for (let x = first; x < last; x++) {
      const weight = at((x + 0.5 - centre) / widening);
      sum += weight * (line[x] ?? NaN);
      total += weight;
    }
    return sum / total;
  });
}

for (const kind of [1, 2, 3] as const) {
  for (const [width, height] of [
    [24, 18],
    [40, 20],
    [90, 70],
  ] as const) {
    test(`resample ${kind}, 60 × 40 to ${width} × ${height}, is PIL’s within 3 levels`, async (t) => {
      const wave = (x: number, y: number): number[] => [
        128 + 90 * Math.sin(x / 5) * Math.cos(y / 7),
        128 + 80 * Math.cos(x / 9 + y / 6),
        128 + 60 * Math.sin(y / 4),
      ];
      const image = raw(60, 40, 3, wave);
      const config = { ...untouched, do_resize: true, size: { width, height }, resample: kind, do_rescale: false };
      const { pixelValues } = await prepare(image, { ...config, do_normalize: false });
      const wanted = [0, 1, 2].flatMap((channel) => {
        const rows = Array.from({ length: 40 }, (_, y) =>
          resample(
            Array.from({ length: 60 }, (_, x) => Math.trunc(wave(x, y)[channel] ?? NaN)),
            width,
            kernels[kind],
          ),
        );
        const columns = Array.from({ length: width }, (_, x) =>
          resample(
            rows.map((row) => row[x] ?? NaN),
            height,
            kernels[kind],
          ),
        );
        return Array.from({ length: height }, (_, y) => columns.map((column) => column[y] ?? NaN)).flat();
      });
      near(t, pixelValues, wanted, 3);
    });
  }
}

test('an image far longer than it is wide is resized off the event loop', async (t) => {
  const image = { data: new Uint8Array(8 * 400_000 * 3).fill(200), width: 8, height: 400_000, channels: 3 as const };
  const config = preprocessorSchema.parse({
    size: { height: 64, width: 64 },
    image_mean: [0, 0, 0],
    image_std: [1, 1, 1],
  });
  const { pixelValues } = await prepareImage(image, config);
  t.true(pixelValues.every((value) => Math.abs(value - 200 / 255) < 1e-6));
  const wide = { ...config, size: { shortest_edge: 8000 } };
  await t.throwsAsync(prepareImage(image, wide), { code: 'IMAGE_TOO_LARGE' });
});
