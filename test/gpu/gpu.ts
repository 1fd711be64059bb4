// What only a GPU can show (docs/gpu.md): the checks of test/cuda there, under compute-sanitizer too; whole inversions
// with ONNX Runtime's CUDA provider; and how inversions end.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { Inverter, type InvertOptions } from '../../lib';
import { Clip } from '../../lib/models/clip';
import { Dllm } from '../../lib/models/dllm';
import { createEngine } from '../../lib/native/create-engines';
import { Replicas } from '../../lib/models/replicas';
import { ModelFolder } from '../../lib/models/model-folder';
import { native } from '../../lib/native/addon';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { findInstalledProvider, providerLibraries } from '../../lib/native/provider-files';
import type { Models } from '../../lib/models/replicas';
import { goldenNumbers } from '../cuda/golden';
import { hasNvcc } from '../cuda/toolkit';
import { needs } from '../helpers/needs';
import { root, run, runScript, type Ended } from '../helpers/child';

const [gpu] = native.cuda().gpus;
const library = findOnnxRuntime();
const provider = findInstalledProvider(library);
const isBuilt = native.cuda().architectures !== '';
const hasSanitizer = spawnSync('compute-sanitizer', ['--version']).status === 0;

const at = mkdtempSync(path.join(tmpdir(), 'fkinv-gpu-'));
test.after.always(() => rmSync(at, { recursive: true, force: true }));
const golden = path.join(at, 'golden');
const check = path.join(at, 'cuda_check_gpu');
const sections: [section: string, argument: string][] = [
  ['golden', golden],
  ['particles', 'whole'],
  ['draws', 'whole'],
  ['similarity', 'whole'],
];

function passed(ended: Ended): string {
  if (ended.code === 0) return ended.stdout.trim();
  throw new Error(`${ended.code ?? ended.signal ?? ''}: ${ended.stderr} ${ended.stdout}`);
}

const onGpu = needs(gpu !== undefined && hasNvcc, 'a GPU with its driver, and nvcc');
const onPackage = needs(
  gpu !== undefined && isBuilt && provider !== undefined,
  'a GPU, a build with CUDA, the provider',
);

onGpu('the kernels compute what the CPU’s do', async (t) => {
  const flags = ['-DFKINV_CHECK=ON', `-DFKINV_CUDA_ARCHITECTURES=${gpu?.computeCapability ?? ''}`];
  passed(await run('cmake', ['-S', root, '-B', at, ...flags]));
  passed(await run('cmake', ['--build', at, '--parallel', '--target', 'cuda_check_gpu', 'cuda_device_check_gpu']));
  writeFileSync(golden, goldenNumbers());
  for (const section of sections) t.log(...section, passed(await run(check, section)));
  t.pass();
});

needs(gpu !== undefined && hasNvcc && hasSanitizer, 'a GPU, nvcc and compute-sanitizer')(
  'compute-sanitizer finds nothing in them',
  async (t) => {
    for (const tool of ['memcheck', 'racecheck', 'initcheck', 'synccheck']) {
      for (const section of ['particles', 'draws', 'similarity']) {
        const args = ['--tool', tool, '--error-exitcode', '9', check, section, 'few'];
        t.regex(passed(await run('compute-sanitizer', args)), /SUMMARY: 0 (errors|hazards)/, `${tool} ${section}`);
      }
    }
  },
);

onGpu('whole inversions give the CPU’s tokens, the graphs run by the CPU', async (t) => {
  const ended = await run(path.join(at, 'cuda_device_check_gpu'), [library, path.join(root, 'models')]);
  t.log(passed(ended));
  t.pass();
});

needs(gpu !== undefined && hasNvcc && provider !== undefined, 'a GPU, nvcc and ONNX Runtime’s CUDA provider')(
  'and by the GPU',
  async (t) => {
    const linked = path.join(at, path.basename(library));
    symlinkSync(library, linked);
    for (const name of providerLibraries) symlinkSync(path.join(provider?.folder ?? '', name), path.join(at, name));
    t.log(passed(await run(path.join(at, 'cuda_device_check_gpu'), [linked, path.join(root, 'models'), 'cuda'])));
    t.pass();
  },
);

onPackage('an Inverter gives the prompts that it gives on the CPU', async (t) => {
  const scenes = Array.from({ length: 4 }, (_, i) => path.join(root, 'test', 'fixtures', 'scenes', `00${i}.png`));
  await using onCpu = await Inverter.load({ device: 'cpu' });
  await using onCuda = await Inverter.load({ device: 'cuda' });
  const variants: InvertOptions[] = [
    {},
    { order: 'confidence', guesses: 2 },
    { order: 'margin', temperature: 0.6, topP: 0.9, essThreshold: 0.5 },
    { banned: ['background'], blockLength: 7, steps: 28 },
  ];
  // The graphs' sums are rounded otherwise there, and a draw within rounding of a boundary may go the other way.
  let same = 0;
  let all = 0;
  for (const options of variants) {
    for (const [seed, scene] of scenes.entries()) {
      const ours = await onCuda.invert(scene, { ...options, seed });
      const theirs = await onCpu.invert(scene, { ...options, seed });
      all++;
      if (ours.prompt !== theirs.prompt) continue;
      same++;
      t.true(Math.abs(ours.reward - theirs.reward) < 1e-2, `${ours.reward} ${theirs.reward}`);
    }
  }
  t.log(`${same} of ${all} prompts are the same`);
  t.true(same > all / 2);
  await t.throwsAsync(onCuda.invert(path.join(root, 'package.json')), { code: 'IMAGE_INVALID' });
});

onPackage('CUDA graphs give what runs of the graph give, whatever the lengths and however a run ends', async (t) => {
  const scenes = Array.from({ length: 4 }, (_, i) => path.join(root, 'test', 'fixtures', 'scenes', `00${i}.png`));
  await using plain = await Inverter.load({ device: 'cuda:0' });
  await using captured = await Inverter.load({ device: 'cuda:0', cudaGraphs: true });
  await using besides = await Inverter.load({ device: 'cuda:0', cudaGraphs: true });
  const same = async (length: number): Promise<void> => {
    const options = { length, particles: 4, steps: 6 };
    const [expected, ...others] = await Promise.all(
      [plain, captured, captured, besides].map((inverter) => inverter.invert(scenes[length % 4] ?? '', options)),
    );
    for (const other of others) t.deepEqual(other.particles, expected?.particles, `length ${length}`);
  };
  const first = captured.invert(scenes[0] ?? '', { length: 9, signal: AbortSignal.timeout(1) });
  await t.throwsAsync(first, { code: 'ABORTED' });
  // More lengths than get a graph, and some of them again.
  for (let length = 5; length <= 28; length++) await same(length);
  for (const length of [5, 9, 20, 28]) await same(length);
  const timed = async (inverter: Inverter): Promise<number> => {
    const begin = performance.now();
    await inverter.invert(scenes[0] ?? '');
    return performance.now() - begin;
  };
  t.log('ms an inversion, without and with:', await timed(plain), await timed(captured));
});

onPackage('a profile times models and kernels in the order of the GPU, and changes nothing', async (t) => {
  const scene = path.join(root, 'test', 'fixtures', 'scenes', '000.png');
  await using onCuda = await Inverter.load({ device: 'cuda' });
  const plain = await onCuda.invert(scene);
  const { inversion, parts, total, events, entries, limits } = await onCuda.profile(scene);
  t.is(inversion.prompt, plain.prompt);
  const rounding = 1e-6;
  const onHost = ['upload', 'download', 'wait'];
  let until = 0;
  for (const { name, kind, thread, start, duration } of events) {
    if (!['forward', 'model', 'kernel', 'wait'].includes(kind)) continue;
    t.is(thread === 'gpu', !onHost.includes(name), name);
    t.true(start >= 0 && duration >= 0 && start + duration <= total, name);
    if (thread !== 'gpu' || kind === 'model') continue;
    t.true(start >= until - rounding, `${name} overlaps what comes before it`);
    until = start + duration;
  }
  for (const part of Object.values(parts) as number[]) t.true(part >= 0);
  t.log(parts, limits);
  for (const { name, calls, total: ms, limitShare } of entries) t.log(name, calls, ms, limitShare);
});

/** On an engine of its own, on the one GPU that is sure to be there. */
async function modelsOnGpu(): Promise<Models> {
  const engine = createEngine({ threads: 1, device: 'cuda:0', warn: () => undefined });
  const clip = await Clip.load(engine, new ModelFolder(path.join(root, 'models', 'clip')));
  return { engine, clip, dllm: await Dllm.load(engine, new ModelFolder(path.join(root, 'models', 'dllm')), clip) };
}

onPackage('two engines on one GPU give what one does', async (t) => {
  const engines = new Replicas([await modelsOnGpu(), await modelsOnGpu()]);
  const two = Reflect.construct(Inverter, [engines, 1000, () => undefined]) as Inverter; // as Inverter.load() does for two GPUs
  await using one = await Inverter.load({ device: 'cuda:0' });
  const scenes = Array.from({ length: 10 }, (_, i) => path.join(root, 'test', 'fixtures', 'scenes', `00${i}.png`));
  const promptsOf = async (inverter: Inverter): Promise<string[]> => {
    const prompts: string[] = [];
    for await (const result of inverter.invertAll(scenes, { particles: 4, steps: 6, maxBatch: 4 })) {
      prompts.push(result instanceof Error ? result.message : result.prompt);
    }
    return prompts;
  };
  t.deepEqual(await promptsOf(two), await promptsOf(one));
  t.is(two.device, 'cuda:0, cuda:0');
  await two.dispose();
});

onPackage('a process ends as it should in the middle of a run', async (t) => {
  const expected: Record<string, [code: number, stdout: RegExp]> = {
    exit: [3, /^$/],
    dispose: [0, /^DISPOSED\ndisposed\n$/],
    abort: [0, /^ABORTED\n$/],
    worker: [0, /^terminated\n.+\n$/],
    again: [0, /^10 loads\n$/],
  };
  for (const [how, [code, stdout]] of Object.entries(expected)) {
    const ended = await runScript('gpu.cjs', [how, path.join(root, 'test', 'fixtures', 'scenes', '000.png')]);
    t.is(ended.code, code, `${how}: ${ended.stderr}`);
    t.regex(ended.stdout, stdout, how);
  }
});

test('what is there to test with', (t) => {
  t.log('GPU:', gpu?.name ?? 'none', '– nvcc:', hasNvcc, '– compute-sanitizer:', hasSanitizer);
  t.log('build with CUDA:', isBuilt, '– provider:', provider?.folder ?? 'none');
  t.true(existsSync(library));
});
