// fkinv-export: MDLM, LLaDA-V and CLIPs of each family, with random weights and true names, made model folders of, held to the
// libraries that they come from, and inverted with. Needs the registry.
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { PictureMemory } from '../../lib/images/budget';
import { preparePicture } from '../../lib/images/prepare';
import { Clip } from '../../lib/models/clip';
import { ModelFolder } from '../../lib/models/model-folder';
import { run } from '../helpers/child';
import { cpuEngine } from '../helpers/cpu-engine';
import { exporters, withExporters } from '../helpers/exporters';
import { bells, fkinv } from '../helpers/fkinv';

const { folder, python, env } = withExporters();

async function scriptOf(t: ExecutionContext, script: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(python(), [path.join(exporters, 'tests', script), ...args], env);
  t.log(stderr);
  t.is(code, 0);
  return stdout;
}

interface Report {
  ok: boolean;
  kind: string;
  checks: { name: string; ok: boolean; detail: string }[];
}

function linesOf(text: string): unknown[] {
  const lines = text.trim().split('\n');
  return lines.map((line) => JSON.parse(line) as unknown);
}

/** Has `fkinv models` check folders. */
async function check(t: ExecutionContext, kind: string, folders: string[]): Promise<void> {
  const { stdout } = await fkinv('models', '--json', ...folders);
  const reports = linesOf(stdout) as Report[];
  t.is(reports.length, folders.length);
  for (const [i, report] of reports.entries()) {
    t.true(report.ok, JSON.stringify(report.checks));
    t.is(report.kind, kind);
    t.log(`${folders[i] ?? ''}: ${report.checks.find(({ name }) => name === 'parity')?.detail ?? ''}`);
  }
}

const few = ['--particles', '2', '--steps', '4', '--length', '12', '--hints', 'off', '--json'];

async function invert(t: ExecutionContext, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await fkinv('invert', bells, ...args, ...few);
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const { prompt, rewardClip } = JSON.parse(stdout) as { prompt: string; rewardClip: number };
  t.not(prompt, '');
  t.true(Math.abs(rewardClip) <= 1);
}

const dllms = [
  { family: 'mdlm', types: ['fp32', 'fp16', 'int4'] },
  { family: 'llada-v', types: ['fp32', 'int8'] },
];
for (const { family, types } of dllms) {
  test.serial(`${family}: ${types.join(', ')}`, async (t) => {
    const made = await scriptOf(t, 'make_folders.py', family, path.join(folder, family), ...types);
    const { folders, difference } = JSON.parse(made) as { folders: string[]; difference: number };
    t.log(`from the plain network: ${difference}`);
    t.true(difference < 1e-5);
    await check(t, 'dllm', folders);
    for (const dllm of folders) await invert(t, '--dllm', dllm);
  });
}

interface MadeClip {
  name: string;
  folders: string[];
  difference: number;
  ids: boolean;
  texts: string[];
  text_embeds: number[][];
  image_embeds: number[];
}

const clips = [
  'clip-vit-base-patch32=fp32,fp16',
  'siglip-base-patch16-224=fp32,int8',
  'CLIP-ViT-H-14-laion2B-s32B-b79K=fp32,fp16,int8,int4',
  'CLIP-ViT-g-14-laion2B-s34B-b88K@84=fp32', // made for 56 pixels: 84 are more patches
  'CLIP-ViT-bigG-14-laion2B-39B-b160k=fp32',
];

test.serial(`CLIPs: ${clips.join(', ')}`, async (t) => {
  const made = linesOf(await scriptOf(t, 'make_clips.py', path.join(folder, 'clips'), bells, ...clips)) as MadeClip[];
  t.is(made.length, clips.length);
  await check(
    t,
    'clip',
    made.flatMap(({ folders }) => folders),
  );
  for (const clip of made) {
    t.log(`${clip.name}: off by ${clip.difference}`);
    t.true(clip.difference < 1e-5 && clip.ids, clip.name);
    await embeds(t, clip);
  }
  const dllm = path.join(folder, 'mdlm', 'fp32');
  for (const { folders } of made) await invert(t, '--dllm', dllm, '--clip', folders.at(-1) ?? '');
});

const memory = new PictureMemory(2 ** 28);

/** Loads the first folder of a CLIP: its texts and the picture come to what the library makes of them. */
async function embeds(
  t: ExecutionContext,
  { name, folders, texts, text_embeds, image_embeds }: MadeClip,
): Promise<void> {
  const engine = cpuEngine(1);
  t.teardown(() => engine.dispose());
  const clip = await Clip.load(engine, new ModelFolder(folders[0] ?? ''));
  const off = (found: Float32Array, expected: number[]): number =>
    Math.max(...expected.map((value, i) => Math.abs((found[i] ?? NaN) - value)));
  const ofTexts: number[] = [];
  for (const [i, text] of texts.entries()) {
    ofTexts.push(off(await (await clip.encodeText(text)).read(), text_embeds[i] ?? []));
  }
  const { images } = await preparePicture(bells, [clip.preprocessor], memory);
  const [image] = images;
  const ofImage = image === undefined ? NaN : off(await (await clip.encodeImage(image)).read(), image_embeds);
  t.log(
    `${name}: texts off by ${ofTexts.map((x) => x.toExponential(0)).join(' ')}, the picture by ${ofImage.toExponential(0)}`,
  );
  t.true(Math.max(...ofTexts) < 1e-4 && ofImage < 2e-3, name);
}
