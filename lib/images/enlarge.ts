/** A filter, by PIL's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic. */
export type Resample = 0 | 1 | 2 | 3;

/** Pixels of 8 bits a channel, rows from the top, channels interleaved. */
export interface Pixels {
  data: Uint8Array;
  width: number;
  height: number;
  channels: number;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function cubic(x: number): number {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** PIL's filters by its numbers: half width in source pixels, and weight at distance x ≥ 0. */
const filters: Record<Resample, { support: number; weight: (x: number) => number }> = {
  0: { support: 0, weight: () => 1 },
  1: { support: 3, weight: (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0) },
  2: { support: 1, weight: (x) => Math.max(0, 1 - x) },
  3: { support: 2, weight: cubic },
};

/** What one output pixel is made of: `weights[k]` of source pixel `first + k`; they sum to 1. */
function tap(from: number, to: number, index: number, resample: Resample): [number, number[]] {
  const { support, weight } = filters[resample];
  const scale = from / to;
  const centre = (index + 0.5) * scale;
  if (support === 0) return [Math.floor(centre), [1]];
  const widen = Math.max(scale, 1); // the axis that shrinks, if one does
  const first = Math.max(0, Math.floor(centre - support * widen + 0.5));
  const last = Math.min(from, Math.floor(centre + support * widen + 0.5));
  const weights = Array.from({ length: last - first }, (_, k) => weight(Math.abs(first + k + 0.5 - centre) / widen));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return [first, weights.map((w) => w / total)];
}

/** Resizes the rows of `pixels` to `width`. */
function resizeRows({ data, width: from, height, channels }: Pixels, width: number, resample: Resample): Pixels {
  const out = new Uint8Array(width * height * channels);
  for (let x = 0; x < width; x++) {
    const [first, weights] = tap(from, width, x, resample);
    for (let y = 0; y < height; y++) {
      for (let channel = 0; channel < channels; channel++) {
        const at = (y * from + first) * channels + channel;
        const value = weights.reduce((sum, w, k) => sum + w * (data[at + k * channels] ?? 0), 0);
        out[(y * width + x) * channels + channel] = Math.min(255, Math.max(0, Math.round(value)));
      }
    }
  }
  return { data: out, width, height, channels };
}

function transpose({ data, width, height, channels }: Pixels): Pixels {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * channels;
      out.set(data.subarray(from, from + channels), (x * height + y) * channels);
    }
  }
  return { data: out, width: height, height: width, channels };
}

/**
 * PIL's resize, for images smaller than a model takes: libvips, which does the rest, shifts what it enlarges by half an
 * output pixel.
 */
export function enlarge(pixels: Pixels, width: number, height: number, resample: Resample): Pixels {
  const rows = resizeRows(pixels, width, resample);
  return transpose(resizeRows(transpose(rows), height, resample));
}
