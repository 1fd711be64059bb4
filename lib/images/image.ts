import { types } from 'node:util';
import { z } from 'zod';
import { FkinvError } from '../errors';

/** Pixels that are already decoded: 8-bit sRGB, rows from the top, channels interleaved, nothing between rows. */
export interface RawImage {
  /** width × height × channels bytes; alpha is not premultiplied. Copied when the call begins to read it. */
  data: Uint8Array;
  /** Pixels of a row: 1 or more. */
  width: number;
  /** Rows: 1 or more. */
  height: number;
  /** 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha. */
  channels: 1 | 2 | 3 | 4;
}

/**
 * A file's path or `file:` URL, the bytes of an image file (a Buffer, a Uint8Array), or raw pixels. A file is a regular one, no
 * pipe and no device, of any format that libvips as sharp ships it reads: JPEG, PNG, WebP, AVIF, GIF (its first frame), TIFF, SVG.
 * At most 268 million pixels; a JPEG or WebP of more than 67 million (2²⁶) is made smaller as it is read where the models take it
 * much smaller still, and says so in `warnings`. EXIF rotation is applied, transparency laid onto white, everything made 8-bit
 * sRGB; samples that are floats are linear light, 0 black and 1 white.
 */
export type ImageInput = string | URL | Uint8Array | RawImage;

const rawSchema = z.strictObject({
  // A Proxy passes for what it stands for, but nothing can read its memory.
  data: z.custom<Uint8Array>((data) => types.isUint8Array(data), 'must be a Uint8Array, and no Proxy of one'),
  width: z.int().min(1),
  height: z.int().min(1),
  channels: z.union([z.literal(1), z.literal(2), z.literal(3), z.literal(4)]),
});

/** @internal Whether `image` was meant as raw pixels, whatever its fields hold. */
export function isRaw(image: unknown): image is RawImage {
  return typeof image === 'object' && image !== null && 'channels' in image;
}

/** @internal The raw pixels, whose fields fit one another. Throws `INVALID_PIXELS`. */
export function checkRaw(image: RawImage): RawImage {
  const { success, error, data: raw } = rawSchema.safeParse(image);
  if (!success) {
    const faults = error.issues.map(({ path, message }) => `${path.join('.') || 'image'}: ${message}`).join('; ');
    throw new FkinvError('INVALID_PIXELS', `raw pixels: ${faults}`, { cause: error });
  }
  const { data, width, height, channels } = raw;
  const expected = width * height * channels;
  if (data.length === expected) return raw;
  throw new FkinvError(
    'INVALID_PIXELS',
    `raw pixels: ${width} × ${height} × ${channels} channels are ${expected} bytes, data has ${data.length}`,
  );
}
