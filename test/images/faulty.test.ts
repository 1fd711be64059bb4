// Image files with faults that decoders pass over: those whose picture is whole are images with a warning.
import test, { type ExecutionContext } from 'ava';
import { Inverter, type ImageInput } from 'fkinv-native';
import sharp from 'sharp';
import { mendJpeg } from '../../lib/images/jpeg';
import { cheap, encoder, picture, prepare, prepareWithWarnings, raw } from '../helpers/pictures';

const marker = (code: number): Buffer => Buffer.of(0xff, code);
const [huffmanTable, startOfScan, endOfImage] = [marker(0xc4), marker(0xda), marker(0xd9)];

async function jpeg(options: sharp.JpegOptions = {}): Promise<Buffer> {
  return encoder(picture()).jpeg(options).toBuffer();
}

/** With `count` zeros before the first marker of this kind. */
function strayBefore(bytes: Buffer, marker: Buffer, count: number): Buffer {
  const at = bytes.indexOf(marker);
  return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(count), bytes.subarray(at)]);
}

/** With Se of the first scan's header (the byte after Ss) 0 in place of 63, as some phones write it. */
function withInvalidScan(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  const at = changed.indexOf(startOfScan);
  changed[at + 5 + 2 * (changed[at + 4] ?? 0) + 1] = 0;
  return changed;
}

/** Its end replaced by the marker that ends a whole one. */
function cut(bytes: Buffer, length: number): Buffer {
  return Buffer.concat([bytes.subarray(0, length), endOfImage]);
}

/** A strict decoder refuses it. What libvips says of it may be of an image that another thread decodes. */
async function isRefusedByOthers(t: ExecutionContext, bytes: Buffer): Promise<void> {
  await t.throwsAsync(sharp(bytes).raw().toBuffer());
}

/** It is the picture that `whole` is, with a warning that has all of `named`. */
async function isWhole(t: ExecutionContext, bytes: Buffer, whole: ImageInput, ...named: RegExp[]): Promise<void> {
  const { warnings, ...prepared } = await prepareWithWarnings(bytes);
  t.is(warnings.length, 1);
  for (const name of named) t.regex(warnings[0] ?? '', name);
  t.deepEqual(prepared, await prepare(whole));
}

test('a sequential JPEG whose scan header has Ss, Se of 0, 0', async (t) => {
  const whole = await jpeg();
  const faulty = withInvalidScan(whole);
  await isRefusedByOthers(t, faulty);
  await isWhole(t, faulty, whole, /scan header/);
});

test('eight stray bytes before a marker', async (t) => {
  const whole = await jpeg();
  for (const before of [huffmanTable, startOfScan]) {
    const faulty = strayBefore(whole, before, 8);
    await isRefusedByOthers(t, faulty);
    await isWhole(t, faulty, whole, /8 stray bytes/);
  }
  t.deepEqual(await prepare(strayBefore(whole, endOfImage, 8)), await prepare(whole), 'what no decoder warns of');
});

test('both faults, and stray bytes in a progressive JPEG', async (t) => {
  const whole = await jpeg();
  await isWhole(t, strayBefore(withInvalidScan(whole), huffmanTable, 3), whole, /3 stray bytes/, /scan header/);
  const progressive = await jpeg({ progressive: true });
  await isWhole(t, strayBefore(progressive, huffmanTable, 5), progressive, /5 stray bytes/);
  t.is(mendJpeg(progressive), undefined, 'its scans have other parameters');
});

test('one that is not whole is none, whatever else is wrong with it', async (t) => {
  const noise = raw(64, 64, 3, (x, y) => [(37 * x * y) % 256, (91 * x + 13 * y * y) % 256, (7 * x * x + 59 * y) % 256]);
  const whole = await encoder(noise).jpeg({ quality: 95 }).toBuffer();
  const scan = whole.indexOf(startOfScan);
  const faults = [(bytes: Buffer) => bytes, withInvalidScan, (bytes: Buffer) => strayBefore(bytes, startOfScan, 8)];
  for (const fault of faults) {
    const faulty = fault(whole);
    for (const length of [scan + 40, Math.floor((scan + whole.length) / 2), faulty.length - 3]) {
      await t.throwsAsync(prepare(cut(faulty, length)), { code: 'IMAGE_INVALID' }, 'cut, with an end put to it');
      await t.throwsAsync(prepare(faulty.subarray(0, length)), { code: 'IMAGE_INVALID' }, 'cut');
    }
  }
});

test('bytes that only begin as a JPEG are not mended', (t) => {
  for (const bytes of [
    [],
    [0xff],
    [0xff, 0xd8],
    [0xff, 0xd8, 0, 0],
    [0xff, 0xd8, 0xff, 0xda],
    [0xff, 0xd8, 0, 0xff, 0xda, 0, 1],
  ]) {
    t.is(mendJpeg(Buffer.from(bytes)), undefined);
  }
});

test('a TIFF of which libtiff says that its channels are more than it tells', async (t) => {
  const rgba = sharp({ create: { width: 9, height: 9, channels: 4, background: { r: 200, g: 90, b: 30, alpha: 1 } } });
  const tiff = await rgba.tiff({ compression: 'none' }).toBuffer();
  const entry = Buffer.from([0x52, 0x01, 3, 0, 1, 0, 0, 0]); // ExtraSamples, one short
  const at = tiff.indexOf(entry);
  t.not(at, -1);
  tiff.writeUInt16LE(0x153 + 0x7000, at); // a tag that nobody knows
  await t.throwsAsync(sharp(tiff).raw().toBuffer(), { message: /Warning treated as error/ });
  const { warnings, pixelValues } = await prepareWithWarnings(tiff);
  t.regex(warnings[0] ?? '', /^the picture was decoded with a warning: /);
  t.is(warnings.length, 1);
  t.is(pixelValues.length, 3 * 81);
});

test('the warning is one of the inversion; of several pictures it says which', async (t) => {
  await using inverter = await Inverter.load({ threads: 1 });
  const whole = await jpeg();
  const faulty = withInvalidScan(whole);
  const { warnings, prompt } = await inverter.invert(faulty, cheap);
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? '', /^the JPEG was decoded in spite of faults/);
  const expected = await inverter.invert(whole, cheap);
  t.deepEqual([expected.warnings, expected.prompt], [[], prompt]);
  const several = await inverter.invert([whole, faulty], cheap);
  t.regex(several.warnings[0] ?? '', /^image 2: the JPEG/);
});
