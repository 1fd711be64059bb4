import path from 'node:path';

// Which files are images by their names, and which of them are decoded.

/** The formats that are decoded, as help texts list them. */
export const formats = 'PNG, JPEG, WebP, GIF, AVIF, TIFF, SVG';

/** Extensions of these formats. */
const extensions = new Set('avif gif jfif jpe jpeg jpg png svg tif tiff webp'.split(' '));

/** Extensions of images of other formats: that they are left out is told. */
const otherExtensions = new Set(
  (
    '3fr apng arw bmp cr2 cr3 cur dcm dds dib dng emf eps exr fits flif gpr hdr heic heics heif heifs hif ico iiq j2c ' +
    'j2k jfi jif jp2 jpf jpm jpx jxl jxr kdc mef mrw nef nrw orf pbm pcx pef pgm pict pnm ppm psb psd qoi raf raw rw2 ' +
    'sr2 srf srw svgz tga wbmp wdp wmf x3f xbm xcf xpm'
  ).split(' '),
);

/**
 * Whether the extension of `file`, in any case, is that of a format that is decoded; `._cat.jpg`, in which macOS keeps notes on
 * an image, is none.
 */
export function isImage(file: string): boolean {
  return extensions.has(extensionOf(file)) && !path.basename(file).startsWith('._');
}

function extensionOf(file: string): string {
  return path.extname(file).slice(1).toLowerCase();
}

/** Whether `file` is an image of a format that is not decoded. */
export function isOther(file: string): boolean {
  return otherExtensions.has(extensionOf(file)) && !path.basename(file).startsWith('._');
}

/** Counts what `onLeftOut` of the inputs is told. */
export class LeftOut {
  readonly #counts = new Map<string, number>();

  add(file: string): void {
    const extension = extensionOf(file);
    this.#counts.set(extension, (this.#counts.get(extension) ?? 0) + 1);
  }

  /** How many files of which extensions, and what to do; undefined where there are none. */
  get message(): string | undefined {
    if (this.#counts.size === 0) return undefined;
    const counts = [...this.#counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    const listed = counts.map(([extension, count]) => `${count} .${extension}`).join(', ');
    const files = total === 1 ? 'an image of a format that is' : `${total} images of formats that are`;
    return `left out ${files} not decoded (${listed}): save them as PNG or JPEG first; it takes ${formats}`;
  }
}
