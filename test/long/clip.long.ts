// CLIPs as transformers and open_clip make them, at their own widths, two layers deep and with random weights, in the layouts that are
// published: a text and a picture have the cosine that these libraries give them.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Inverter } from 'fkinv-native';
import { PictureMemory } from '../../lib/images/budget';
import { decode, planDecoding } from '../../lib/images/decode';
import type { PreparedImage } from '../../lib/images/pixels';
import { preparePicture } from '../../lib/images/prepare';
import { Clip } from '../../lib/models/clip';
import { ModelFolder } from '../../lib/models/model-folder';
import { run } from '../helpers/child';
import { cpuEngine } from '../helpers/cpu-engine';
import { encoder, raw, stored } from '../helpers/pictures';
import { pythonEnvironment } from '../helpers/python-env';
import { fragments } from '../onnx/models';

const scripts = path.join(__dirname, 'python');

/** A folder of clip_cases.py, the graphs of it by their suffix, and what they are held to. */
interface Case {
  name: string;
  suffix?: string;
  /** Whether the reference is ONNX Runtime, which runs the same graphs of the same ids and pixels, not the model in PyTorch. */
  isQuantised?: true;
  tolerance: number;
}
const hub = 'clip-vit-base-patch32';
const cases: Case[] = [
  { name: hub, tolerance: 1e-4 },
  { name: hub, suffix: '_fp16', tolerance: 2e-3 },
  { name: hub, suffix: '_quantized', isQuantised: true, tolerance: 1e-5 },
  { name: hub, suffix: '_int8', isQuantised: true, tolerance: 1e-5 },
  { name: hub, suffix: '_q4', isQuantised: true, tolerance: 1e-5 },
  { name: 'siglip-base-patch16-224', tolerance: 1e-4 },
  { name: 'siglip2-base-patch16-224', tolerance: 1e-4 },
  { name: 'ViT-B-32__laion2b-s34b-b79k', tolerance: 1e-4 },
  { name: 'ViT-B-32-longest', tolerance: 1e-4 },
  { name: 'ViT-H-14__laion2b-s32b-b79k', tolerance: 1e-4 },
  { name: 'ViT-B-16-SigLIP__webli', tolerance: 1e-4 },
];

const texts = [
  'a photo of a cat',
  '  A Café in São Paulo,\tdéjà vu: naïve façade! ',
  'ΟΔΥΣΣΕΥΣ, İstanbul — ½ pint “quoted” it’s snake_case & more',
  '🐱 a cat 👩‍👩‍👧 emoji ☕️ family',
  'word '.repeat(90).trim(),
  '日本語の写真と ﬁne ligatures, ｗｉｄｅ letters, e\u0301 composed',
  '',
];

/** Pictures as a camera or a program writes them: the first are smaller than the models take, so that PIL's own way is followed. */
const pictures = {
  odd: () => encoder(raw(213, 137, 3, shade)).png(),
  small: () => encoder(raw(41, 38, 3, shade)).png(),
  grey: () => encoder(raw(200, 125, 1, (x, y) => [(x * y) % 256])).png(),
  alpha: () => encoder(raw(150, 151, 4, (x, y) => [...shade(x, y), (2 * x + y) % 256])).png(),
  turned: () =>
    encoder(stored(raw(131, 200, 3, shade), 6))
      .withMetadata({ orientation: 6 })
      .jpeg({ quality: 95 }),
  large: () => encoder(raw(633, 417, 3, shade)).png(),
  tall: () => encoder(raw(297, 611, 3, shade)).png(),
};
const enlarged = 5;
/** libvips, which makes pictures smaller, knows 64 places between two pixels: one in twenty values is a level of 255 off. */
const shrunkTolerance = 5e-4;

function shade(x: number, y: number): number[] {
  const wave = (a: number): number => Math.round(127 + 120 * Math.sin(a));
  return [wave(x / 17 + y / 40), wave(x / 60 - y / 11), (x >> 4) % 2 === (y >> 4) % 2 ? 230 : 40];
}

/** Embeddings of texts and pictures. */
interface Embeddings {
  text: number[][];
  image: number[][];
}

/** What fkinv and a reference give. */
interface Compared {
  found: Embeddings;
  wanted: Embeddings;
  /** Of an inversion of the first picture: its prompts are the reference's texts behind {@link texts}. */
  particles: { prompt: string; reward: number }[];
}

let root: string;
const compared = new Map<Case, Compared>();

test.before(async (t) => {
  t.timeout(1_500_000);
  root = await mkdtemp(path.join(tmpdir(), 'fkinv-clip-'));
  const python = await pythonEnvironment(path.join(scripts, 'requirements.txt'));
  const script = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await run(python, [path.join(scripts, 'clip_models.py'), ...args]);
    t.is(code, 0, stderr);
  };
  const models = path.join(root, 'models');
  await script('make', models, ...new Set(cases.map(({ name }) => name)));
  await fragments(path.join(root, 'dllm'));
  const files = await Promise.all(
    Object.entries(pictures).map(async ([name, make]) => {
      const file = path.join(root, `${name}.bin`);
      await make().toFile(file);
      return file;
    }),
  );
  const upright = await Promise.all(files.map(uprightOf));

  const jobs: { one: Case; job: object }[] = [];
  const found = new Map<Case, Omit<Compared, 'wanted'>>();
  for (const one of cases) {
    const folder = path.join(models, one.name);
    if (one.suffix !== undefined) await chooseGraphs(folder, one.suffix);
    const particles = await invert(folder, files[0] ?? '');
    const all = [...texts, ...particles.map(({ prompt }) => prompt)];
    const { embeddings, ids, pixels } = await embeddingsOf(folder, all, files);
    found.set(one, { found: embeddings, particles });
    if (one.isQuantised)
      compared.set(one, {
        found: embeddings,
        particles,
        wanted: await ofGraphs(folder, one.suffix ?? '', ids, pixels),
      });
    else jobs.push({ one, job: { case: one.name, texts: all, pictures: upright } });
  }
  const [input, output] = [path.join(root, 'in.json'), path.join(root, 'out.json')];
  await writeFile(input, JSON.stringify(jobs.map(({ job }) => job)));
  await script('reference', models, input, output);
  const results = JSON.parse(await readFile(output, 'utf8')) as Embeddings[];
  for (const [i, { one }] of jobs.entries()) {
    const [mine, wanted] = [found.get(one), results[i]];
    if (mine !== undefined && wanted !== undefined) compared.set(one, { ...mine, wanted });
  }
});
test.after.always(() => rm(root, { recursive: true, force: true }));

/** A picture after fkinv's rotation and laid onto white, as a PNG. */
async function uprightOf(file: string): Promise<string> {
  const bytes = await readFile(file);
  const { pixels } = await decode(bytes, await planDecoding(bytes, []));
  await encoder(pixels as Parameters<typeof encoder>[0])
    .png()
    .toFile(`${file}.png`);
  return `${file}.png`;
}

function chooseGraphs(folder: string, suffix: string): Promise<void> {
  const [vision, text] = ['vision', 'text'].map((tower) => `onnx/${tower}_model${suffix}.onnx`);
  return writeFile(path.join(folder, 'fkinv.json'), JSON.stringify({ graphs: { vision, text } }));
}

interface Given {
  embeddings: Embeddings;
  ids: number[][];
  pixels: PreparedImage[];
}

async function embeddingsOf(folder: string, of: string[], files: string[]): Promise<Given> {
  const engine = cpuEngine(2);
  try {
    const clip = await Clip.load(engine, new ModelFolder(folder));
    const embeddings: Embeddings = { text: [], image: [] };
    const pixels: PreparedImage[] = [];
    for (const text of of) embeddings.text.push([...(await (await clip.encodeText(text)).read())]);
    for (const file of files) {
      const { images } = await preparePicture(file, [clip.preprocessor], new PictureMemory(2 ** 28));
      pixels.push(...images);
      for (const image of images) embeddings.image.push([...(await (await clip.encodeImage(image)).read())]);
    }
    return { embeddings, ids: clip.tokenIds(of), pixels };
  } finally {
    await engine.dispose();
  }
}

/** What ONNX Runtime's own binding gives. */
async function ofGraphs(folder: string, suffix: string, ids: number[][], pixels: PreparedImage[]): Promise<Embeddings> {
  const tower = async (name: string, runs: Record<string, Tensor>[]): Promise<number[][]> => {
    const session = await InferenceSession.create(path.join(folder, 'onnx', `${name}_model${suffix}.onnx`));
    const found: number[][] = [];
    for (const inputs of runs) {
      const { [session.outputNames[0] ?? '']: output } = await session.run(inputs);
      found.push([...(output?.data as Float32Array)]);
    }
    await session.release();
    return found;
  };
  const texts = ids.map((row) => ({
    input_ids: new Tensor('int64', BigInt64Array.from(row, BigInt), [1, row.length]),
    attention_mask: new Tensor(
      'int64',
      BigInt64Array.from(row, () => 1n),
      [1, row.length],
    ),
  }));
  const pictures = pixels.map(({ pixelValues, height, width }) => ({
    pixel_values: new Tensor('float32', pixelValues, [1, 3, height, width]),
  }));
  return { text: await tower('text', texts), image: await tower('vision', pictures) };
}

/** Prompts of an inversion and the rewards that they have in it: the way that CLIP is used. */
async function invert(clip: string, file: string): Promise<Compared['particles']> {
  const inverter = await Inverter.load({ dllm: path.join(root, 'dllm'), clip, threads: 2 });
  try {
    const { particles } = await inverter.invert(file, { particles: 4, steps: 3, length: 6, seed: 1 });
    return particles.map(({ prompt, rewardClip }) => ({ prompt, reward: rewardClip }));
  } finally {
    await inverter.dispose();
  }
}

function cosine(a: number[] = [], b: number[] = []): number {
  const dot = (x: number[], y: number[]): number => x.reduce((sum, v, i) => sum + v * (y[i] ?? NaN), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** Of each text with each picture. */
function cosinesOf({ text, image }: Embeddings): number[] {
  return text.flatMap((one) => image.map((other) => cosine(one, other)));
}

function worstOf(found: number[], wanted: number[]): number {
  return found.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (wanted[i] ?? NaN))), 0);
}

for (const one of cases) {
  const { name, suffix = '', isQuantised, tolerance } = one;
  test(`${name}${suffix}: as ${isQuantised ? 'ONNX Runtime' : 'its library'} has it`, (t: ExecutionContext) => {
    const { found, wanted, particles } = compared.get(one) ?? t.fail();
    const of = ({ text, image }: Embeddings, from: number, to: number): number[] =>
      cosinesOf({ text, image: image.slice(from, to) });
    const all = cosinesOf(wanted);
    const [lowest, highest] = [Math.min(...all), Math.max(...all)];
    const exact = worstOf(of(found, 0, enlarged), of(wanted, 0, enlarged));
    const shrunk = worstOf(of(found, enlarged, Infinity), of(wanted, enlarged, Infinity));
    t.log(`cosines from ${lowest.toFixed(3)} to ${highest.toFixed(3)}`);
    t.log(`off by ${exact.toExponential(1)} at most, of pictures made smaller by ${shrunk.toExponential(1)}`);
    t.true(exact <= tolerance);
    t.true(shrunk <= (isQuantised ? tolerance : Math.max(tolerance, shrunkTolerance)));
    t.true(highest - lowest > 0.02, 'texts and pictures differ');

    const rewards = particles.map((_, i) => cosine(wanted.text[texts.length + i], wanted.image[0]));
    const off = worstOf(
      particles.map(({ reward }) => reward),
      rewards,
    );
    t.log(`rewards off by ${off.toExponential(1)}`);
    t.true(particles.length > 0 && off <= tolerance);
  });
}
