// What is no image: files, bytes, raw pixels that do not fit, things of any other kind.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { FkinvError, Inverter, type ErrorCode, type ImageInput } from 'fkinv-native';
import { needs } from '../helpers/needs';
import { cheap, encoder, outcome, picture, png, type Outcome } from '../helpers/pictures';

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

// What was given is quoted in part, and a hint says what to do.

test('an address given as a path is a file that does not exist; the message says to fetch it', async (t) => {
  await refuses(t, 'http://localhost/image.png', 'IMAGE_NOT_FOUND', 'http://localhost/image.png', 'fetch');
  await refuses(t, 'https://localhost/image.png', 'IMAGE_NOT_FOUND', 'https://localhost/image.png', 'fetch');
  await refuses(t, new URL('https://localhost/image.png'), 'INVALID_OPTION', 'https://localhost/image.png', 'fetch');
});

test('a data: URL is quoted in part, and the message says to decode it', async (t) => {
  const url = `data:image/png;base64,${'iVBORw0KGgo='.repeat(400_000)}`;
  for (const [image, code] of [
    [url, 'IMAGE_NOT_FOUND'],
    [new URL(url), 'INVALID_OPTION'],
  ] as const) {
    await refuses(t, image, code, 'data:image/png', 'Buffer.from(url');
    const error = await t.throwsAsync(inverter.invert(image, cheap));
    t.true(error.message.length < 800, `${error.message.length} characters`);
  }
});

test('a long path that does not exist, and an object with much in it, are quoted in part', async (t) => {
  for (const image of ['x'.repeat(100_000), { text: 'y'.repeat(100_000) }]) {
    const error = await t.throwsAsync(inverter.invert(image as ImageInput, cheap), { instanceOf: FkinvError });
    t.true(error.message.length < 800, `${error.message.length} characters`);
  }
});

test('a Proxy of a Buffer, whose memory nothing can read', async (t) => {
  const bytes = await png(picture());
  await refuses(t, new Proxy(bytes, {}), 'INVALID_OPTION', 'image', 'Proxy');
  const { data, ...size } = picture();
  await refuses(t, { data: new Proxy(data, {}), ...size }, 'INVALID_PIXELS', 'data', 'Proxy');
  const hostile = new Proxy({}, { has: () => assert.fail('a trap'), get: () => assert.fail('a trap') });
  await refuses(t, hostile, 'IMAGE_INVALID', 'a trap');
});

// Files that are none: there may be no end of them.

needs(existsSync('/dev/zero'), '/dev/zero')('a device, under its own name and behind a link', async (t) => {
  const link = path.join(folder, 'zero.png');
  await symlink('/dev/zero', link);
  for (const image of ['/dev/zero', link]) await refuses(t, image, 'IMAGE_INVALID', image, 'a device');
});

needs(spawnSync('mkfifo', ['--version']).status === 0, 'mkfifo')('a pipe nobody writes into', async (t) => {
  const at = path.join(folder, 'pipe.png');
  spawnSync('mkfifo', [at]);
  await refuses(t, at, 'IMAGE_INVALID', at, 'a pipe');
});

test('formats that are not read: one sentence says which it is, and how to convert it', async (t) => {
  const heic = Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1');
  await refuses(t, await file('phone.heic', heic), 'IMAGE_INVALID', 'phone.heic', 'HEIC', 'JPEG');
  await refuses(t, heic, 'IMAGE_INVALID', 'HEIC', 'heif-convert');
  const bmp = Buffer.concat([Buffer.from('BM'), Buffer.alloc(60)]);
  await refuses(t, bmp, 'IMAGE_INVALID', 'BMP', 'PNG');
});
