import { readFile } from 'node:fs/promises';
import { inspect } from 'node:util';
import sharp, { type Sharp } from 'sharp';
import { z } from 'zod';
import { enlarge, type Pixels } from './enlarge';
import { FkinvError, messageOf } from '../errors';
import { pathOf } from '../util/validate';

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
 * A file's path or `file:` URL, the bytes of an image file (a Buffer, a Uint8Array), or raw pixels. A file is of any format that
 * libvips as sharp ships it reads: JPEG, PNG, WebP, AVIF, GIF (its first frame), TIFF, SVG. At most 268 million pixels. EXIF rotation is applied,
 * transparency laid onto white, everything made 8-bit sRGB.
 */
export type ImageInput = string | URL | Uint8Array | RawImage;

const edge = z.int().min(1).max(8192);
const square = z.object({ height: edge, width: edge });
const shortest = z.object({ shortest_edge: edge });

/** @internal `preprocessor_config.json` as Hugging Face's CLIPImageProcessor writes it. */
export const preprocessorSchema = z.looseObject({
  do_resize: z.boolean().default(true),
  size: z.union([
    square,
    shortest,
    z
      .int()
      .min(1)
      .transform((edge) => ({ shortest_edge: edge })),
  ]),
  /** PIL's numbers. */
  resample: z.union([z.literal(0), z.literal(1), z.literal(2), z.literal(3)]).default(3),
  do_center_crop: z.boolean().default(false),
  crop_size: z
    .union([
      square,
      z
        .int()
        .min(1)
        .transform((edge) => ({ height: edge, width: edge })),
    ])
    .optional(),
  do_rescale: z.boolean().default(true),
  rescale_factor: z.number().default(1 / 255),
  do_normalize: z.boolean().default(true),
  image_mean: z.tuple([z.number(), z.number(), z.number()]),
  image_std: z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]),
});
/** @internal */
export type Preprocessor = z.output<typeof preprocessorSchema>;

/** sharp's own limit on an input. */
const maxPixels = 268402689;

const kernels = { 0: 'nearest', 1: 'lanczos3', 2: 'linear', 3: 'cubic' } as const;

/** @internal An image as a model takes it: `pixelValues` [3, height, width]. */
export interface PreparedImage {
  pixelValues: Float32Array;
  width: number;
  height: number;
}

const rawSchema = z.strictObject({
  data: z.instanceof(Uint8Array),
  width: z.int().min(1),
  height: z.int().min(1),
  channels: z.union([z.literal(1), z.literal(2), z.literal(3), z.literal(4)]),
});

function openRaw(image: RawImage): Sharp {
  const { success, error } = rawSchema.safeParse(image);
  if (!success) {
    const faults = error.issues.map(({ path, message }) => `${path.join('.') || 'image'}: ${message}`).join('; ');
    throw new FkinvError('INVALID_PIXELS', `raw pixels: ${faults}`, { cause: error });
  }
  const { data, width, height, channels } = image;
  const expected = width * height * channels;
  if (data.length !== expected) {
    throw new FkinvError(
      'INVALID_PIXELS',
      `raw pixels: ${width} × ${height} × ${channels} channels are ${expected} bytes, data has ${data.length}`,
    );
  }
  return sharp(copyOf(data), { raw: { width, height, channels } });
}

/** The caller may change or transfer its buffer while sharp's threads read. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return Buffer.from(bytes);
}

async function openFile(file: string): Promise<Uint8Array> {
  return readFile(file).catch((cause: unknown) => {
    throw new FkinvError('IMAGE_NOT_FOUND', `cannot read the image: ${messageOf(cause)}`, { cause });
  });
}

async function open(image: ImageInput): Promise<Sharp> {
  if (isRaw(image)) return openRaw(image);
  let bytes: Uint8Array;
  if (image instanceof Uint8Array) {
    bytes = copyOf(image);
  } else {
    const file = pathOf(image);
    if (file === undefined) {
      throw new FkinvError(
        'INVALID_OPTION',
        'image: must be a path, a file: URL, a Buffer or { data, width, height, channels }, not ' +
          inspect(image, { depth: 0, maxArrayLength: 3, breakLength: Infinity }),
      );
    }
    bytes = await openFile(file);
  }
  if (bytes.length === 0) throw new FkinvError('IMAGE_INVALID', `${describe(image)} is empty`);
  return sharp(bytes);
}

/** @internal */
export function isRaw(image: unknown): image is RawImage {
  return typeof image === 'object' && image !== null && 'channels' in image;
}

function describe(image: ImageInput): string {
  if (typeof image === 'string') return image;
  return image instanceof URL ? image.href : 'the image';
}

/**
 * Decodes an image (EXIF rotation applied, alpha laid onto white, grey and 16-bit made 8-bit sRGB) and prepares it as
 * `config` says. Throws `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `IMAGE_TOO_LARGE` or `INVALID_PIXELS`.
 * @internal
 */
export async function prepareImage(image: ImageInput, config: Preprocessor): Promise<PreparedImage> {
  const source = await open(image);
  try {
    const pixels = await decode(source);
    return toPixelValues(config.do_resize ? await resize(pixels, config) : pixels, config);
  } catch (cause) {
    if (cause instanceof FkinvError) throw cause;
    const tooLarge = messageOf(cause).includes('pixel limit');
    throw new FkinvError(
      tooLarge ? 'IMAGE_TOO_LARGE' : 'IMAGE_INVALID',
      `${describe(image)} cannot be decoded: ${messageOf(cause)}`,
      { cause },
    );
  }
}

// Whole, before it is resized: a JPEG decoder that shrinks on its own does not use the filter the model was trained with.
function decode(source: Sharp): Promise<Pixels> {
  return toPixels(source.autoOrient().flatten({ background: '#ffffff' }).toColourspace('srgb'));
}

async function toPixels(source: Sharp): Promise<Pixels> {
  const { data, info } = await source.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: info.channels };
}

async function resize(pixels: Pixels, { size, resample }: Preprocessor): Promise<Pixels> {
  const [width, height] = 'width' in size ? [size.width, size.height] : scaled(pixels, size.shortest_edge);
  if (width * height > maxPixels) {
    throw new FkinvError(
      'IMAGE_TOO_LARGE',
      `an image of ${pixels.width} × ${pixels.height} would be resized to ${width} × ${height}, as the preprocessor config says`,
    );
  }
  // What shrinks first, off the event loop; then only an image smaller than a model takes is left to enlarge.
  const small = { width: Math.min(width, pixels.width), height: Math.min(height, pixels.height) };
  const shrunk = small.width === pixels.width && small.height === pixels.height ? pixels : await shrink(pixels, small);
  return small.width === width && small.height === height ? shrunk : enlarge(shrunk, width, height, resample);

  function shrink({ data, channels, ...from }: Pixels, to: { width: number; height: number }): Promise<Pixels> {
    const raw = { ...from, channels: channels as RawImage['channels'] };
    return toPixels(sharp(data, { raw }).resize({ ...to, fit: 'fill', kernel: kernels[resample] }));
  }
}

/** Width and height with the shorter at `edge`; the longer is truncated, as CLIPImageProcessor does. */
function scaled({ width, height }: Pixels, edge: number): [number, number] {
  return width <= height ? [edge, Math.trunc((edge * height) / width)] : [Math.trunc((edge * width) / height), edge];
}

/** @internal Width and height that every prepared image has, where the config fixes them. */
export function preparedSize(config: Preprocessor): { width: number; height: number } | undefined {
  if (config.do_center_crop && config.crop_size !== undefined) return config.crop_size;
  return config.do_resize && 'width' in config.size ? config.size : undefined;
}

function toPixelValues({ data, ...image }: Pixels, config: Preprocessor): PreparedImage {
  const { width, height } = config.do_center_crop && config.crop_size !== undefined ? config.crop_size : image;
  const left = Math.floor((image.width - width) / 2);
  const top = Math.floor((image.height - height) / 2);
  const scale = config.do_rescale ? config.rescale_factor : 1;
  const pixelValues = new Float32Array(3 * width * height);
  for (let channel = 0; channel < 3; channel++) {
    const mean = config.do_normalize ? (config.image_mean[channel] ?? 0) : 0;
    const deviation = config.do_normalize ? (config.image_std[channel] ?? 1) : 1;
    const source = Math.min(channel, image.channels - 1); // grey stands for all three
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const fromX = left + x;
        const fromY = top + y;
        const isInside = fromX >= 0 && fromX < image.width && fromY >= 0 && fromY < image.height; // a wider crop has a rim
        const value = isInside ? (data[(fromY * image.width + fromX) * image.channels + source] ?? 0) : 0;
        pixelValues[(channel * height + y) * width + x] = (value * scale - mean) / deviation;
      }
    }
  }
  return { pixelValues, width, height };
}
