import { z } from 'zod';

const edge = z.int().min(1).max(8192);
const square = z.object({ height: edge, width: edge });
const shortest = z.object({ shortest_edge: edge });

/** `preprocessor_config.json` as Hugging Face's CLIPImageProcessor writes it. */
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
  /** A filter by PIL's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic. */
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
/** What is done to a picture before a model takes it. */
export type Preprocessor = z.output<typeof preprocessorSchema>;

/** Width and height in pixels. */
export interface Size {
  width: number;
  height: number;
}

/** The size that every prepared image has, where the config fixes it. */
export function preparedSize(config: Preprocessor): Size | undefined {
  if (config.do_center_crop && config.crop_size !== undefined) return config.crop_size;
  return config.do_resize && 'width' in config.size ? config.size : undefined;
}

/**
 * The size to which an image of this size is resized, before a crop. The shorter side comes to `shortest_edge`; the longer is
 * truncated, as CLIPImageProcessor does.
 */
export function resizedSize({ width, height }: Size, { do_resize, size }: Preprocessor): Size {
  if (!do_resize) return { width, height };
  if ('width' in size) return size;
  const edge = size.shortest_edge;
  return width <= height
    ? { width: edge, height: Math.trunc((edge * height) / width) }
    : { width: Math.trunc((edge * width) / height), height: edge };
}
