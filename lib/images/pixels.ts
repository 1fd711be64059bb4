import sharp, { type Sharp } from 'sharp';
import { enlarge, type Pixels } from './enlarge';
import { cropStart, resizedSize, type Preprocessor, type Size } from './preprocessor';
import { FkinvError } from '../errors';

/** The most pixels of an image: sharp's own limit on an input. */
const maxPixels = 268402689;

/** libvips' filters by PIL's numbers. */
const kernels = { 0: 'nearest', 1: 'lanczos3', 2: 'linear', 3: 'cubic' } as const;

/** An image as a model takes it: `pixelValues` [3, height, width]. */
export interface PreparedImage {
  pixelValues: Float32Array;
  width: number;
  height: number;
}

/** Resizes, crops and normalises `pixels` as `config` says. Throws `IMAGE_TOO_LARGE`. */
export async function preparePixels(pixels: Pixels, config: Preprocessor): Promise<PreparedImage> {
  return toPixelValues(await resize(pixels, config), config);
}

/** Runs a pipeline of sharp to 8-bit pixels. */
export async function toPixels(pipeline: Sharp): Promise<Pixels> {
  const { data, info } = await pipeline.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: info.channels };
}

async function resize(pixels: Pixels, config: Preprocessor): Promise<Pixels> {
  const { width, height } = resizedSize(pixels, config);
  if (width * height > maxPixels) {
    throw new FkinvError(
      'IMAGE_TOO_LARGE',
      `an image of ${pixels.width} × ${pixels.height} would be resized to ${width} × ${height}, as the preprocessor config says`,
    );
  }
  // Axes that shrink come first, on sharp's threads; what is left to enlarge on this one is smaller than a model takes.
  const small = { width: Math.min(width, pixels.width), height: Math.min(height, pixels.height) };
  const shrunk = isOf(small, pixels) ? pixels : await shrink(pixels, small, config);
  return isOf({ width, height }, small) ? shrunk : enlarge(shrunk, width, height, config.resample);
}

function isOf(size: Size, other: Size): boolean {
  return size.width === other.width && size.height === other.height;
}

function shrink({ data, channels, ...from }: Pixels, to: Size, { resample }: Preprocessor): Promise<Pixels> {
  const raw = { ...from, channels: channels as 1 | 2 | 3 | 4 };
  return toPixels(sharp(data, { raw }).resize({ ...to, fit: 'fill', kernel: kernels[resample] }));
}

function toPixelValues({ data, ...image }: Pixels, config: Preprocessor): PreparedImage {
  const { width, height } = config.do_center_crop && config.crop_size !== undefined ? config.crop_size : image;
  const left = cropStart(image.width, width, config);
  const top = cropStart(image.height, height, config);
  const { fill_color: fill = 0 } = config;
  const scale = config.do_rescale ? config.rescale_factor : 1;
  const pixelValues = new Float32Array(3 * width * height);
  for (let channel = 0; channel < 3; channel++) {
    const mean = config.do_normalize ? (config.image_mean[channel] ?? 0) : fill;
    const deviation = config.do_normalize ? (config.image_std[channel] ?? 1) : 1;
    const source = Math.min(channel, image.channels - 1); // grey stands for all three
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const fromX = left + x;
        const fromY = top + y;
        const isInside = fromX >= 0 && fromX < image.width && fromY >= 0 && fromY < image.height; // a wider crop has a rim
        const value = isInside ? (data[(fromY * image.width + fromX) * image.channels + source] ?? 0) : fill;
        pixelValues[(channel * height + y) * width + x] = (value * scale - mean) / deviation;
      }
    }
  }
  return { pixelValues, width, height };
}
