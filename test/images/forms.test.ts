// The same picture in whatever form and format it is given.
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import { Inverter, type ImageInput, type RawImage } from 'fkinv-native';
import sharp from 'sharp';
import { cheap, disc, encoder, outcome, picture, png, raw, stored, undoing, type Outcome } from '../helpers/pictures';

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

async function file(name: string, content: Uint8Array | string): Promise<string> {
  const at = path.join(folder, name);
  await writeFile(at, content);
  return at;
}

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
