// Small pictures made in place, what becomes of them, and what an inversion of one comes to.
import type { ExecutionContext } from 'ava';
import type { ImageInput, Inversion, RawImage } from 'fkinv-native';
import sharp from 'sharp';
import type { z } from 'zod';
import { PictureMemory } from '../../lib/images/budget';
import type { PreparedImage } from '../../lib/images/pixels';
import { preparePicture, type PreparedPicture } from '../../lib/images/prepare';
import { preprocessorSchema } from '../../lib/images/preprocessor';

/** Options of a quick inversion, for pictures whose prompt does not matter. */
export const cheap = { particles: 2, steps: 2, length: 8 };

/** An inversion without its times. */
export type Outcome = Omit<Inversion, 'timings'>;

/** All but the times, which alone may differ. */
export function outcome(inversion: Inversion): Outcome {
  return { ...inversion, timings: undefined } as Outcome;
}

/** The channels' levels at a place. */
export type Colour = (x: number, y: number) => number[];

/** Raw pixels: `colour` at each place. */
export function raw(width: number, height: number, channels: 1 | 2 | 3 | 4, colour: Colour): RawImage {
  const places = Array.from({ length: width * height }, (_, i) => [i % width, Math.floor(i / width)] as const);
  return { data: Uint8Array.from(places.flatMap(([x, y]) => colour(x, y))), width, height, channels };
}

/** An orange disc off the middle of a shaded ground: no symmetry takes it to itself. */
export function disc(x: number, y: number): [number, number, number] {
  return (x - 24) ** 2 + (y - 36) ** 2 < 300 ? [240, 130, 30] : [60 + x, 90 + y, 160 - x];
}

/** The disc, 64 × 64. */
export function picture(): RawImage {
  return raw(64, 64, 3, disc);
}

/** A pipeline of sharp that begins with the image. */
export function encoder({ data, width, height, channels }: RawImage): sharp.Sharp {
  return sharp(data, { raw: { width, height, channels } });
}

/** The image as a PNG. */
export function png(image: RawImage): Promise<Buffer> {
  return encoder(image).png().toBuffer();
}

/** `image` as a camera that writes EXIF orientation `tag` stores it (row 0 and column 0 are the sides the tag names). */
export function stored({ data, width, height, channels }: RawImage, tag: number): RawImage {
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
export function undoing(tag: number): number {
  return { 6: 8, 8: 6 }[tag] ?? tag;
}

/** As `preprocessor_config.json` has it. */
export type Config = z.input<typeof preprocessorSchema>;
export const mean: [number, number, number] = [0.48, 0.4, 0.3];
export const deviation: [number, number, number] = [0.25, 0.5, 0.75];
/** Neither resized nor cropped. */
export const untouched: Config = { do_resize: false, size: 8, image_mean: mean, image_std: deviation };

const memory = new PictureMemory(2 ** 28);

/** The picture as a model of `config` takes it, and its warnings. */
export async function prepareWithWarnings(
  image: ImageInput,
  config: Config = untouched,
): Promise<PreparedImage & Pick<PreparedPicture, 'warnings'>> {
  const { images, warnings } = await preparePicture(image, [preprocessorSchema.parse(config)], memory);
  const [prepared] = images;
  if (prepared === undefined) throw new Error('one config gives one image');
  return { ...prepared, warnings };
}

/** The picture as a model of `config` takes it. */
export async function prepare(image: ImageInput, config: Config = untouched): Promise<PreparedImage> {
  const { pixelValues, width, height } = await prepareWithWarnings(image, config);
  return { pixelValues, width, height };
}

export function near(
  t: ExecutionContext,
  actual: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance: number,
): void {
  t.is(actual.length, wanted.length);
  const off = Array.from(actual, (value, i) => Math.abs(value - (wanted[i] ?? NaN)));
  const worst = off.reduce((a, b) => (a >= b ? a : b), 0); // NaN stays
  t.true(worst <= tolerance, `off by ${worst}, allowed ${tolerance}`);
}

/** Pixel values of `colour` over a rectangle, as `value` has them of a channel's level. */
export function planes(
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
export const level = 1 / 255 / 0.25;

export async function agrees(
  t: ExecutionContext,
  prepared: PreparedImage,
  of: RawImage,
  tolerance = 1e-6,
): Promise<void> {
  const { width, height } = of;
  t.deepEqual([prepared.width, prepared.height], [width, height]);
  near(t, prepared.pixelValues, (await prepare(of)).pixelValues, tolerance);
}
