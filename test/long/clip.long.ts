// CLIPs as transformers and open_clip make them, with random weights, in every layout that is published: the cosine of a text
// and a picture is the one that these libraries give.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Inverter } from 'fkinv-native';
import { PictureMemory } from '../../lib/images/budget';
import { decode, planDecoding } from '../../lib/images/decode';
import { Clip } from '../../lib/models/clip';
import { ModelFolder } from '../../lib/models/model-folder';
import { run } from '../helpers/child';
import { cpuEngine } from '../helpers/cpu-engine';
import { preparePicture } from '../../lib/images/prepare';
import { encoder, raw, stored } from '../helpers/pictures';
import { pythonEnvironment } from '../helpers/python-env';
import { fragments } from '../onnx/models';

const scripts = path.join(__dirname, 'python');
const cases = {
  'clip-vit-base-patch32': 1e-4,
  'siglip-base-patch16-224': 1e-4,
  'siglip2-base-patch16-224': 1e-4,
  'ViT-B-32__laion2b-s34b-b79k': 1e-4,
  'ViT-H-14__laion2b-s32b-b79k': 1e-4,
  'ViT-B-16-SigLIP__webli': 1e-4,
  'ViT-B-32-longest': 1e-4,
} as const;

const texts = [
  'a photo of a cat',
  '  A Café in São Paulo,\tdéjà vu: naïve façade! ',
  'ΟΔΥΣΣΕΥΣ, İstanbul — ½ pint “quoted” it’s snake_case & more',
  '🐱 a cat 👩‍👩‍👧 emoji ☕️ family',
  'word '.repeat(90).trim(),
  '日本語の写真と ﬁne ligatures, e\u0301 composed',
  '',
];

let root: string;
let python: string;
let pictures: string[];
/** As files that a camera or a program writes. */
const sources: Record<string, () => Promise<Buffer>> = {
  odd: () => encoder(raw(333, 217, 3, shade)).png().toBuffer(),
  tall: () => encoder(raw(97, 611, 3, shade)).png().toBuffer(),
  small: () => encoder(raw(41, 38, 3, shade)).png().toBuffer(),
  grey: () => encoder(raw(300, 225, 1, (x, y) => [(x * y) % 256])).png().toBuffer(),
  alpha: () =>
    encoder(raw(250, 251, 4, (x, y) => [...shade(x, y), (2 * x + y) % 256]))
      .png()
      .toBuffer(),
  turned: () =>
    encoder(stored(raw(231, 400, 3, shade), 6))
      .withMetadata({ orientation: 6 })
      .jpeg({ quality: 95 })
      .toBuffer(),
};

function shade(x: number, y: number): number[] {
  const wave = (a: number): number => Math.round(127 + 120 * Math.sin(a));
  return [wave(x / 17 + y / 40), wave(x / 60 - y / 11), (x >> 4) % 2 === (y >> 4) % 2 ? 230 : 40];
}

test.before(async (t) => {
  t.timeout(1_500_000);
  root = await mkdtemp(path.join(tmpdir(), 'fkinv-clip-'));
  python = await pythonEnvironment(path.join(scripts, 'requirements.txt'));
  pictures = await Promise.all(
    Object.entries(sources).map(async ([name, make]) => {
      const file = path.join(root, `${name}.bin`);
      await writeFile(file, await make());
      return file;
    }),
  );
  await scriptOf(t, 'make', path.join(root, 'models'), ...Object.keys(cases));
  await fragments(path.join(root, 'dllm'));
});
test.after.always(() => rm(root, { recursive: true, force: true }));

async function scriptOf(t: ExecutionContext, ...args: string[]): Promise<void> {
  const { code, stderr } = await run(python, [path.join(scripts, 'clip_models.py'), ...args]);
  t.is(code, 0, stderr);
}

interface Embeddings {
  text: number[][];
  image: number[][];
}

let count = 0;
/** What the library gives, of the pictures after their rotation and laid onto white. */
async function referenceOf(t: ExecutionContext, job: object): Promise<Embeddings> {
  const upright = await Promise.all(
    pictures.map(async (file) => {
      const bytes = await readFile(file);
      const { pixels } = await decode(bytes, await planDecoding(bytes, []));
      await encoder(pixels as Parameters<typeof encoder>[0]).png().toFile(`${file}.png`);
      return `${file}.png`;
    }),
  );
  const [input, output] = ['in', 'out'].map((end) => path.join(root, `${++count}-${end}.json`)) as [string, string];
  await writeFile(input, JSON.stringify([{ pictures: upright, ...job }]));
  await scriptOf(t, 'reference', input, output);
  const [result] = JSON.parse(await readFile(output, 'utf8')) as [Embeddings];
  return result;
}

const memory = new PictureMemory(2 ** 28);
async function embeddingsOf(clip: Clip, of: readonly string[]): Promise<Embeddings> {
  const found: Embeddings = { text: [], image: [] };
  for (const text of of) found.text.push(Array.from(await (await clip.encodeText(text)).read()));
  for (const picture of pictures) {
    const { images } = await preparePicture(picture, [clip.preprocessor], memory);
    for (const image of images) found.image.push(Array.from(await (await clip.encodeImage(image)).read()));
  }
  return found;
}

function cosine(a: number[], b: number[]): number {
  const dot = (x: number[], y: number[]): number => x.reduce((sum, v, i) => sum + v * (y[i] ?? NaN), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** Of every text with every picture. */
function cosinesOf({ text, image }: Embeddings): number[][] {
  return text.map((one) => image.map((other) => cosine(one, other)));
}

function agree(t: ExecutionContext, found: Embeddings, wanted: Embeddings, tolerance: number): void {
  const [a, b] = [cosinesOf(found), cosinesOf(wanted)];
  const off = b.map((row, i) => row.map((value, j) => Math.abs(value - (a[i]?.[j] ?? NaN))));
  const worst = off.flat().reduce((x, y) => (x >= y ? x : y), 0);
  const all = b.flat();
  t.log(`off by ${worst.toExponential(1)} at most, of cosines from ${Math.min(...all).toFixed(3)} to ${Math.max(...all).toFixed(3)}`);
  t.log(off.map((row) => row.map((x) => x.toExponential(0)).join(' ')).join('\n'));
  t.true(worst <= tolerance, `off by ${worst}`);
  t.true(Math.max(...all) - Math.min(...all) > 0.02, 'the cosines tell texts and pictures apart');
}

async function load(t: ExecutionContext, name: string, variant?: string): Promise<Clip> {
  const engine = cpuEngine(2);
  t.teardown(() => engine.dispose());
  return Clip.load(engine, new ModelFolder(path.join(root, 'models', name), { variant }));
}

for (const [name, tolerance] of Object.entries(cases)) {
  test.serial(name, async (t) => {
    const found = await embeddingsOf(await load(t, name), texts);
    agree(t, found, await referenceOf(t, { case: name, texts }), tolerance);
  });
}
