import { setImmediate } from 'node:timers/promises';
import sharp, { type FailOnOptions, type Metadata } from 'sharp';
import type { Pixels } from './enlarge';
import { mendJpeg } from './jpeg';
import { toPixels } from './pixels';
import { resizedSize, type Preprocessor, type Size } from './preprocessor';
import { messageOf } from '../errors';

/** Pixels above which a JPEG or WebP is made smaller as it is decoded: fixed, so that no result depends on the machine. */
const mostWhole = 2 ** 26;

/** How an image file is decoded, by what its header says. */
export interface DecodingPlan {
  format: string;
  /** Size of the whole picture, turned upright. */
  size: Size;
  /** Size to which the picture is made smaller as it is decoded; undefined where it is decoded whole. */
  smaller: Size | undefined;
  /** Whether its samples are floats of one channel, which libvips takes for levels of 255. */
  isFloatGrey: boolean;
  /** Bytes of the pixels, and of what the decoder holds beside them. */
  bytes: number;
}

/** Reads the header of an image file, and decides how it is decoded for models that want `configs`. */
export async function planDecoding(bytes: Buffer, configs: readonly Preprocessor[]): Promise<DecodingPlan> {
  const header = await sharp(bytes, { failOn: 'none' }).metadata(); // faults are left to decoding, which reports them
  const size = { width: header.autoOrient.width, height: header.autoOrient.height };
  const smaller = smallerSize(header.format, size, configs);
  const isFloatGrey = ['float', 'double'].includes(header.depth) && header.space === 'b-w';
  const { width, height } = smaller ?? size;
  const perPixel = isFloatGrey ? 13 : 3;
  const held = heldBeside(header, smaller !== undefined);
  return { format: header.format, size, smaller, isFloatGrey, bytes: perPixel * width * height + held };
}

/**
 * What the decoder holds of an image beside the pixels that come out. Rows of a baseline JPEG, a PNG, a TIFF and an SVG pass
 * through it; of other kinds it holds the whole.
 */
function heldBeside(
  { format, width, height, channels, depth, isProgressive, orientation = 1 }: Metadata,
  isSmaller: boolean,
): number {
  const pixels = width * height;
  const whole = pixels * channels * ({ uchar: 1, char: 1, ushort: 2, short: 2 }[depth as string] ?? 4);
  const turned = orientation > 1 && !isSmaller ? whole : 0; // a row of the result is then no row of the file
  if (format === 'jpeg') return turned + (isProgressive ? 6 * pixels : 0); // 16-bit coefficients of three channels
  if (format === 'png') return turned + (isProgressive ? whole : 0);
  return turned + (['tiff', 'svg'].includes(format) ? 0 : 4 * pixels);
}

/**
 * A half, a quarter or an eighth of `size`: the largest that is within the pixels that are decoded whole, but never less than four
 * times what a model resizes it to, so that the filter the model was trained with still makes it what it is.
 */
function smallerSize(format: string, { width, height }: Size, configs: readonly Preprocessor[]): Size | undefined {
  if (!['jpeg', 'webp'].includes(format) || width * height <= mostWhole) return undefined;
  const wanted = configs.map((config) => resizedSize({ width, height }, config));
  const sizes = [2, 4, 8]
    .map((factor) => ({ width: Math.floor(width / factor), height: Math.floor(height / factor) }))
    .filter((size) => wanted.every((model) => size.width >= 4 * model.width && size.height >= 4 * model.height));
  return sizes.find((size) => size.width * size.height <= mostWhole) ?? sizes.at(-1);
}

/** A decoded picture, with warnings for the user. */
export interface Decoded {
  pixels: Pixels;
  warnings: string[];
}

/**
 * Decodes an image file: EXIF rotation applied, alpha laid onto white, everything made 8-bit sRGB. One that is decoded whole in
 * spite of a fault gives a warning; a truncated one is refused. Throws libvips' own errors.
 */
export async function decode(bytes: Buffer, plan: DecodingPlan): Promise<Decoded> {
  const { size, smaller } = plan;
  const said =
    smaller === undefined
      ? []
      : [`the picture of ${size.width} × ${size.height} was made ${smaller.width} × ${smaller.height} as it was read`];
  try {
    return { pixels: await pixelsOf(bytes, plan, 'warning'), warnings: said };
  } catch (cause) {
    const { pixels, warnings } = (await decodeFaulty(bytes, plan, messageOf(cause))) ?? {};
    if (pixels === undefined || warnings === undefined) throw cause;
    return { pixels, warnings: [...said, ...warnings] };
  }
}

/**
 * The picture of a file that a strict decoder refuses, if it is whole. libjpeg's warnings tell the first fault alone, and may
 * mean missing data: a JPEG is mended, and must be without any fault then. In other formats missing data is an error.
 */
async function decodeFaulty(bytes: Buffer, plan: DecodingPlan, message: string): Promise<Decoded | undefined> {
  try {
    if (plan.format !== 'jpeg') {
      const pixels = await pixelsOf(bytes, plan, 'error');
      return { pixels, warnings: [`the picture was decoded with a warning: ${firstLine(message)}`] };
    }
    const mended = mendJpeg(bytes);
    if (mended === undefined) return undefined;
    const pixels = await pixelsOf(mended.bytes, plan, 'warning');
    return { pixels, warnings: [`the JPEG was decoded in spite of faults: ${mended.faults.join(', ')}`] };
  } catch {
    return undefined;
  }
}

function firstLine(message: string): string {
  const lines = message.split('\n').filter((line) => line !== '' && !line.startsWith('Warning treated as error'));
  return lines[0] ?? 'a fault that the decoder passed over';
}

// A picture is decoded whole where it can be, since a decoder that shrinks on its own does not use the filter the model was
// trained with.
async function pixelsOf(bytes: Buffer, { smaller, isFloatGrey }: DecodingPlan, failOn: FailOnOptions): Promise<Pixels> {
  const upright = sharp(bytes, { failOn }).autoOrient();
  if (isFloatGrey) {
    const { data, info } = await upright.raw({ depth: 'float' }).toBuffer({ resolveWithObject: true });
    return greyOfLight(new Float32Array(data.buffer, data.byteOffset, data.length / 4), info);
  }
  if (smaller !== undefined) upright.resize({ ...smaller, fit: 'fill' });
  return toPixels(upright.flatten({ background: '#ffffff' }).toColourspace('srgb'));
}

/** Pixels that are converted before the event loop gets a turn. */
const pixelsAtATime = 2 ** 20;

/**
 * Linear light from 0 to 1 as 8-bit grey, by sRGB's transfer function (IEC 61966-2-1), as libvips does with three channels of
 * floats.
 */
async function greyOfLight(light: Float32Array, { width, height, channels }: sharp.OutputInfo): Promise<Pixels> {
  const data = new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) {
    if (i % pixelsAtATime === pixelsAtATime - 1) await setImmediate();
    const value = Math.min(1, Math.max(0, light[i * channels] ?? 0));
    data[i] = Math.round(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
  }
  return { data, width, height, channels: 1 };
}
