import { z } from 'zod';

const edge = z.int().min(1).max(8192);
const rectangle = z.object({ height: edge, width: edge });
const shortest = z.object({ shortest_edge: edge });

const mean = z.tuple([z.number(), z.number(), z.number()]);
const deviation = z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]);

/** `preprocessor_config.json` as Hugging Face's CLIPImageProcessor and SiglipImageProcessor write it. */
export const preprocessorSchema = z.object({
  do_resize: z.boolean().default(true),
  size: z.union([
    rectangle,
    shortest,
    z
      .int()
      .min(1)
      .transform((edge) => ({ shortest_edge: edge })),
  ]),
  /** A filter by PIL's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic. */
  resample: z.union([z.literal(0), z.literal(1), z.literal(2), z.literal(3)]).default(3),
  do_center_crop: z.boolean().default(false),
  crop_size: z
    .union([
      rectangle,
      z
        .int()
        .min(1)
        .transform((edge) => ({ height: edge, width: edge })),
    ])
    .optional(),
  do_rescale: z.boolean().default(true),
  rescale_factor: z.number().default(1 / 255),
  do_normalize: z.boolean().default(true),
  image_mean: mean,
  image_std: deviation,
});

/** Width and height in pixels. */
export interface Size {
  width: number;
  height: number;
}

/** What is done to a picture before a model takes it. */
export type Preprocessor = Omit<z.output<typeof preprocessorSchema>, 'size'> & {
  /**
   * The size that a picture is resized to: this one; the one with this shorter side; or, its sides in proportion, the largest
   * inside this one or the smallest that covers it.
   */
  size: Size | { shortest_edge: number } | { inside: Size } | { over: Size };
  /** How a crop is placed whose distance to the edges is half a pixel: as CLIPImageProcessor does it, or as torchvision. */
  crop_as?: 'torchvision';
  /** What is beside a picture that is smaller than the crop, 0 to 255; default 0. */
  fill_color?: number;
};

/** open_clip's PreprocessCfg, as `visual/preprocess_cfg.json` has it. */
export const openClipPreprocessorSchema = z
  .object({
    size: z.union([
      edge.transform((side) => ({ height: side, width: side })),
      z.tuple([edge, edge]).transform(([height, width]) => ({ height, width })),
    ]),
    mean,
    std: deviation,
    interpolation: z.enum(['bicubic', 'bilinear', 'random']).default('bicubic'),
    resize_mode: z.enum(['shortest', 'longest', 'squash']).default('shortest'),
    fill_color: z.int().min(0).max(255).default(0),
  })
  .transform(({ size, mean, std, interpolation, resize_mode, fill_color }): Preprocessor => ({
    do_resize: true,
    size: openClipSize(size, resize_mode),
    resample: interpolation === 'bilinear' ? 2 : 3,
    do_center_crop: resize_mode !== 'squash',
    crop_size: size,
    crop_as: 'torchvision',
    fill_color,
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: mean,
    image_std: std,
  }));

function openClipSize(size: Size, mode: 'shortest' | 'longest' | 'squash'): Preprocessor['size'] {
  if (mode === 'squash') return size;
  if (mode === 'longest') return { inside: size };
  return size.width === size.height ? { shortest_edge: size.width } : { over: size };
}

/** The size that every prepared image has, where the config fixes it. */
export function preparedSize(config: Preprocessor): Size | undefined {
  if (config.do_center_crop && config.crop_size !== undefined) return config.crop_size;
  return config.do_resize && 'width' in config.size ? config.size : undefined;
}

/**
 * The size to which an image of this size is resized, before a crop. With `shortest_edge` the longer side is truncated, as
 * CLIPImageProcessor and torchvision do; in proportion to a size both are rounded, as open_clip does.
 */
export function resizedSize({ width, height }: Size, { do_resize, size }: Preprocessor): Size {
  if (!do_resize) return { width, height };
  if ('width' in size) return size;
  if ('shortest_edge' in size) {
    const edge = size.shortest_edge;
    return width <= height
      ? { width: edge, height: Math.trunc((edge * height) / width) }
      : { width: Math.trunc((edge * width) / height), height: edge };
  }
  const ratio =
    'inside' in size
      ? Math.max(width / size.inside.width, height / size.inside.height)
      : Math.min(width / size.over.width, height / size.over.height);
  const rounded = (side: number): number => Math.max(1, roundHalfToEven(side / ratio));
  return { width: rounded(width), height: rounded(height) };
}

/** Where a crop of `to` pixels begins on an axis of `from`: below 0 where it is wider. */
export function cropStart(from: number, to: number, { crop_as }: Preprocessor): number {
  const half = (from - to) / 2;
  if (crop_as !== 'torchvision') return Math.floor(half);
  return half < 0 ? Math.ceil(half) : roundHalfToEven(half);
}

/** As Python's round(). */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const isHalf = value - floor === 0.5;
  return isHalf ? floor + (floor % 2) : Math.round(value);
}
