import { types } from 'node:util';
import sharp from 'sharp';
import type { PictureMemory } from './budget';
import { decode, planDecoding, type Decoded } from './decode';
import { checkRaw, isRaw, type ImageInput, type RawImage } from './image';
import { preparePixels, toPixels, type PreparedImage } from './pixels';
import type { Preprocessor } from './preprocessor';
import { describe, noImage, readRegular, sizeOf, unreadFormat } from './read';
import { FkinvError, messageOf } from '../errors';
import { pathOf } from '../util/validate';

/** A picture as each model takes it. */
export interface PreparedPicture {
  /** The picture prepared for each config, in the order of the configs. */
  images: PreparedImage[];
  /** Warnings for the user, such as a fault that the decoder passed over. */
  warnings: string[];
}

/**
 * Decodes a picture once, within `memory`, and prepares it as each of `configs` says. A picture that still waits for memory when
 * `signal`, or a listener in its place, is aborted is not decoded any more.
 * @throws FkinvError `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `IMAGE_TOO_LARGE`, `INVALID_PIXELS` or `INVALID_OPTION`; the reason of
 *   `signal`
 */
export async function preparePicture(
  image: ImageInput,
  configs: readonly Preprocessor[],
  memory: PictureMemory,
  signal?: Pick<AbortSignal, 'throwIfAborted'>,
): Promise<PreparedPicture> {
  const prepareOnce = (bytes: number, decoding: () => Promise<Decoded>): Promise<PreparedPicture> =>
    memory.pixels.use(bytes, async () => {
      signal?.throwIfAborted();
      const { pixels, warnings } = await decoding();
      return { images: await Promise.all(configs.map((config) => preparePixels(pixels, config))), warnings };
    });
  const ofFile = async (bytes: Buffer): Promise<PreparedPicture> => {
    if (bytes.length === 0) throw new FkinvError('IMAGE_INVALID', `${describe(image)} is empty`);
    const unread = unreadFormat(bytes);
    if (unread !== undefined) throw new FkinvError('IMAGE_INVALID', `${describe(image)} is ${unread}`);
    const plan = await planDecoding(bytes, configs);
    return prepareOnce(plan.bytes, () => decode(bytes, plan));
  };
  try {
    if (isRaw(image)) {
      const raw = checkRaw(image);
      return await prepareOnce(raw.data.length + 3 * raw.width * raw.height, () => decodeRaw(raw));
    }
    // The caller may change or transfer its buffer while sharp's threads read: a copy is made, at once where there is room.
    if (types.isUint8Array(image)) return await memory.files.use(image.length, () => ofFile(Buffer.from(image)));
    const file = pathOf(image);
    if (file === undefined) throw noImage(image);
    return await memory.files.use(await sizeOf(file), async () => ofFile(await readRegular(file)));
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof FkinvError) throw cause;
    const tooLarge = messageOf(cause).includes('pixel limit');
    throw new FkinvError(
      tooLarge ? 'IMAGE_TOO_LARGE' : 'IMAGE_INVALID',
      `${describe(image)} cannot be decoded: ${messageOf(cause)}`,
      { cause },
    );
  }
}

async function decodeRaw({ data, width, height, channels }: RawImage): Promise<Decoded> {
  const raw = { width, height, channels };
  const upright = sharp(Buffer.from(data), { raw });
  return { pixels: await toPixels(upright.flatten({ background: '#ffffff' }).toColourspace('srgb')), warnings: [] };
}
