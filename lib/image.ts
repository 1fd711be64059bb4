import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import sharp, { type Sharp } from 'sharp';
import { z } from 'zod';
import { FkinvError, messageOf } from './errors';

/** Pixels that are already decoded: 8 bits a channel, rows from the top, channels interleaved. */
export interface RawImage {
  /** width × height × channels bytes. */
  data: Uint8Array;
  width: number;
  height: number;
  /** 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha. */
  channels: 1 | 2 | 3 | 4;
}

/** A file's path or `file:` URL, the bytes of an image file, or raw pixels. */
export type ImageInput = string | URL | Uint8Array | RawImage;

const square = z.object({ height: z.int().min(1), width: z.int().min(1) });
const shortest = z.object({ shortest_edge: z.int().min(1) });

/** `preprocessor_config.json` as Hugging Face's CLIPImageProcessor writes it, with its defaults. */
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
  image_std: z.tuple([z.number(), z.number(), z.number()]),
});
export type Preprocessor = z.output<typeof preprocessorSchema>;

const kernels = { 0: 'nearest', 1: 'lanczos3', 2: 'linear', 3: 'cubic' } as const;

/** An image as a model takes it: `pixelValues` [3, height, width]. */
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
  return sharp(data, { raw: { width, height, channels } });
}

async function openFile(file: string): Promise<Uint8Array> {
  return readFile(file).catch((cause: unknown) => {
    throw new FkinvError('IMAGE_NOT_FOUND', `cannot read the image: ${messageOf(cause)}`, { cause });
  });
}

async function open(image: ImageInput): Promise<Sharp> {
  if (typeof image === 'object' && 'channels' in image) return openRaw(image);
  let bytes: Uint8Array;
  if (image instanceof Uint8Array) {
    bytes = image;
  } else if (typeof image === 'string') {
    bytes = await openFile(image);
  } else if (image instanceof URL && image.protocol === 'file:') {
    bytes = await openFile(fileURLToPath(image));
  } else {
    const given = image instanceof URL ? `the URL ${image.href}` : String(image);
    throw new FkinvError(
      'INVALID_OPTION',
      `image: must be a path, a file: URL, a Buffer or { data, width, height, channels }, not ${given}`,
    );
  }
  if (bytes.length === 0) throw new FkinvError('IMAGE_INVALID', `${describe(image)} is empty`);
  return sharp(bytes);
}

function describe(image: ImageInput): string {
  if (typeof image === 'string') return image;
  return image instanceof URL ? image.href : 'the image';
}

/**
 * Decodes an image (EXIF rotation applied, alpha laid onto white, grey and 16-bit made 8-bit sRGB) and prepares it as
 * `config` says. Throws `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `IMAGE_TOO_LARGE` or `INVALID_PIXELS`.
 */
export async function prepareImage(image: ImageInput, config: Preprocessor): Promise<PreparedImage> {
  const source = await open(image);
  try {
    const pixels = source.autoOrient().flatten({ background: '#ffffff' }).toColourspace('srgb');
    return await toPixelValues(config.do_resize ? resize(pixels, config) : pixels, config);
  } catch (cause) {
    const tooLarge = messageOf(cause).includes('pixel limit');
    throw new FkinvError(
      tooLarge ? 'IMAGE_TOO_LARGE' : 'IMAGE_INVALID',
      `${describe(image)} cannot be decoded: ${messageOf(cause)}`,
      { cause },
    );
  }
}

function resize(pixels: Sharp, { size, resample }: Preprocessor): Sharp {
  const [width, height] = 'width' in size ? [size.width, size.height] : [size.shortest_edge, size.shortest_edge];
  return pixels.resize({
    width,
    height,
    fit: 'width' in size ? 'fill' : 'outside',
    kernel: kernels[resample],
    fastShrinkOnLoad: false, // a JPEG decoder's own scaling is not the filter that the model was trained with
  });
}

async function toPixelValues(pixels: Sharp, config: Preprocessor): Promise<PreparedImage> {
  const { data, info } = await pixels.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  const crop = config.do_center_crop ? config.crop_size : undefined;
  const width = Math.min(crop?.width ?? info.width, info.width);
  const height = Math.min(crop?.height ?? info.height, info.height);
  const left = Math.floor((info.width - width) / 2);
  const top = Math.floor((info.height - height) / 2);
  const scale = config.do_rescale ? config.rescale_factor : 1;
  const pixelValues = new Float32Array(3 * width * height);
  for (let channel = 0; channel < 3; channel++) {
    const mean = config.do_normalize ? (config.image_mean[channel] ?? 0) : 0;
    const deviation = config.do_normalize ? (config.image_std[channel] ?? 1) : 1;
    const source = Math.min(channel, info.channels - 1); // grey stands for all three
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const value = data[((top + y) * info.width + left + x) * info.channels + source] ?? 0;
        pixelValues[(channel * height + y) * width + x] = (value * scale - mean) / deviation;
      }
    }
  }
  return { pixelValues, width, height };
}
