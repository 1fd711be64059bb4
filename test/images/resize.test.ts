// Resizing and cropping, checked against PIL's filters.
import test from 'ava';
import type { RawImage } from 'fkinv-native';
import { disc, near, planes, prepare, raw, untouched, type Colour, type Config } from '../helpers/pictures';

/** Blocks of `block` × `block` equal pixels, each of another colour. */
function blocks(columns: number, rows: number, block: number): RawImage {
  const colour: Colour = (x, y) => blockColour(Math.floor(x / block), Math.floor(y / block));
  return raw(columns * block, rows * block, 3, colour);
}

function blockColour(column: number, row: number): number[] {
  return [(column * 37 + 11) % 256, (row * 53 + 29) % 256, (column * 17 + row * 71) % 256];
}

for (const [columns, rows] of [
  [13, 8],
  [8, 13],
  [16, 8],
  [8, 8],
] as const) {
  test(`shortest_edge, then a centre crop: ${columns} × ${rows} blocks`, async (t) => {
    const config: Config = {
      ...untouched,
      do_resize: true,
      size: { shortest_edge: 8 },
      resample: 0,
      do_center_crop: true,
      crop_size: { width: 6, height: 5 },
    };
    const { width, height, pixelValues } = await prepare(blocks(columns, rows, 3), config);
    t.deepEqual([width, height], [6, 5]);
    const left = Math.floor((columns - 6) / 2);
    const top = Math.floor((rows - 5) / 2);
    const wanted = planes(6, 5, (x, y) => blockColour(left + x, top + y));
    near(t, pixelValues, wanted, 1e-6);
  });
}

test('a centre crop without resizing; sizes may be plain numbers', async (t) => {
  const { width, height, pixelValues } = await prepare(raw(48, 33, 3, disc), {
    ...untouched,
    do_center_crop: true,
    crop_size: 10,
  });
  t.deepEqual([width, height], [10, 10]);
  const wanted = planes(10, 10, (x, y) => disc(19 + x, 11 + y));
  near(t, pixelValues, wanted, 1e-6);
});

test('crop_size is nothing without do_center_crop', async (t) => {
  const config = { ...untouched, do_resize: true, size: 8, resample: 0, crop_size: 5 } as const;
  const { width, height } = await prepare(blocks(8, 8, 2), config);
  t.deepEqual([width, height], [8, 8]);
});

test('a centre crop larger than the image pads it with zeros', async (t) => {
  const config = { ...untouched, do_center_crop: true, crop_size: { width: 8, height: 4 } };
  const { width, height, pixelValues } = await prepare(raw(6, 10, 3, disc), config);
  t.deepEqual([width, height], [8, 4]);
  const wanted = planes(8, 4, (x, y) => (x < 1 || x > 6 ? [0, 0, 0] : disc(x - 1, y + 3)));
  near(t, pixelValues, wanted, 1e-6);
});

// CLIPImageProcessor's longer side is int(shortest_edge · long / short).
for (const [width, height, ...wanted] of [
  [100, 75, 10, 8],
  [75, 100, 8, 10],
  [33, 7, 37, 8],
  [20, 10, 16, 8],
  [5, 5, 8, 8],
] as const) {
  test(`shortest_edge 8 makes ${width} × ${height} ${wanted.join(' × ')}`, async (t) => {
    const config = { ...untouched, do_resize: true, size: { shortest_edge: 8 } };
    const prepared = await prepare(raw(width, height, 3, disc), config);
    t.deepEqual([prepared.width, prepared.height], wanted);
  });
}

interface Kernel {
  support: number;
  at: (x: number) => number;
}
const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const kernels: Record<1 | 2 | 3, Kernel> = {
  1: { support: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
  2: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  3: {
    support: 2,
    at: (signed) => {
      const x = Math.abs(signed);
      if (x < 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1;
      return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
    },
  },
};

/** One line resampled as PIL does: the kernel widened by the scale when shrinking, cut off at the edges. */
function resample(line: number[], size: number, { support, at }: Kernel): number[] {
  const scale = line.length / size;
  const widening = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support * widening + 0.5));
    const last = Math.min(line.length, Math.floor(centre + support * widening + 0.5));
    let sum = 0;
    let total = 0;
    for (let x = first; x < last; x++) {
      const weight = at((x + 0.5 - centre) / widening);
      sum += weight * (line[x] ?? NaN);
      total += weight;
    }
    return sum / total;
  });
}

for (const kind of [1, 2, 3] as const) {
  for (const [width, height] of [
    [24, 18],
    [40, 20],
    [90, 70],
  ] as const) {
    test(`resample ${kind}, 60 × 40 to ${width} × ${height}, is PIL’s within 3 levels`, async (t) => {
      const wave = (x: number, y: number): number[] => [
        128 + 90 * Math.sin(x / 5) * Math.cos(y / 7),
        128 + 80 * Math.cos(x / 9 + y / 6),
        128 + 60 * Math.sin(y / 4),
      ];
      const image = raw(60, 40, 3, wave);
      const config = { ...untouched, do_resize: true, size: { width, height }, resample: kind, do_rescale: false };
      const { pixelValues } = await prepare(image, { ...config, do_normalize: false });
      const wanted = [0, 1, 2].flatMap((channel) => {
        const rows = Array.from({ length: 40 }, (_, y) =>
          resample(
            Array.from({ length: 60 }, (_, x) => Math.trunc(wave(x, y)[channel] ?? NaN)),
            width,
            kernels[kind],
          ),
        );
        const columns = Array.from({ length: width }, (_, x) =>
          resample(
            rows.map((row) => row[x] ?? NaN),
            height,
            kernels[kind],
          ),
        );
        return Array.from({ length: height }, (_, y) => columns.map((column) => column[y] ?? NaN)).flat();
      });
      near(t, pixelValues, wanted, 3);
    });
  }
}

test('an image far longer than it is wide is resized off the event loop', async (t) => {
  const image = { data: new Uint8Array(8 * 400_000 * 3).fill(200), width: 8, height: 400_000, channels: 3 as const };
  const config: Config = { size: { height: 64, width: 64 }, image_mean: [0, 0, 0], image_std: [1, 1, 1] };
  const { pixelValues } = await prepare(image, config);
  t.true(pixelValues.every((value) => Math.abs(value - 200 / 255) < 1e-6));
  const wide = { ...config, size: { shortest_edge: 8000 } };
  await t.throwsAsync(prepare(image, wide), { code: 'IMAGE_TOO_LARGE' });
});
