// npm run bench:gpu [-- --python python3]
// The CUDA kernels against PyTorch eager and the GPU's own limits, on the first GPU (bench/README.md).
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { native } from '../lib/native/addon';
import { machine } from './machine';
import { writeSection } from './section';

const root = path.join(__dirname, '..');
const build = path.join(root, 'build', 'bench-gpu');
const shapes = [
  [1, 77, 126464],
  [8, 32, 50258],
  [16, 77, 151936],
  [64, 24, 2048],
];
const types = ['float32', 'float16', 'bfloat16'];
const cases = types.flatMap((type) => shapes.map((shape) => [...shape, type].map(String)));

interface Gpu {
  gpu: string;
  multiprocessors: number;
  flops: number;
  bytesPerSecond: number;
}
/** Medians, in microseconds. */
interface Engine {
  shape: number[];
  type: string;
  floor: number;
  pass: number;
  merge: number;
  coupling: number;
  draw: number;
  whole: number;
}
interface Eager {
  shape: number[];
  type: string;
  similarity: number;
  reward: number;
  draw: number;
  whole: number;
  extraBytes: number;
}

const { values: options } = parseArgs({ options: { python: { type: 'string', default: 'python3' } } });

async function main(): Promise<void> {
  const [gpu] = native.cuda().gpus;
  if (gpu === undefined) throw new Error('there is no GPU here, or no driver for it');
  const about = machine();
  const cmake = (...args: string[]): void => {
    execFileSync('cmake', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  };
  cmake('-S', root, '-B', build, '-DFKINV_BENCH=ON', `-DFKINV_CUDA_ARCHITECTURES=${gpu.computeCapability}`);
  cmake('--build', build, '--target', 'cuda_bench', '--parallel');
  const [limits, ...engine] = linesOf<Gpu, Engine>(path.join(build, 'cuda_bench'), cases.flat());
  const [torch, ...eager] = linesOf<{ torch: string }, Eager>(options.python, [
    path.join(__dirname, 'gpu', 'eager.py'),
    ...cases.flat(),
  ]);
  const text = [
    `${limits.gpu}, ${limits.multiprocessors} multiprocessors, compute capability ${gpu.computeCapability / 10}; driver ` +
      `${native.cuda().driver}, CUDA ${native.cuda().runtime || 'of the checks'}, PyTorch ${torch.torch}; ` +
      `${about['date'] ?? ''}. Read from memory at ${(limits.bytesPerSecond / 1e12).toFixed(2)} TB/s, float32 at ` +
      `${(limits.flops / 1e12).toFixed(1)} TFLOP/s.`,
    '',
    '| logits | pass, µs | merge, µs | coupling, µs | draw, µs | step, µs | floor, µs | pass × floor | PyTorch, µs | × PyTorch |',
    '| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |',
    ...engine.map((ours, i) => rowOf(ours, eager[i])),
  ].join('\n');
  console.log(text);
  mkdirSync(path.join(__dirname, 'results'), { recursive: true });
  writeFileSync(
    path.join(__dirname, 'results', 'gpu.json'),
    `${JSON.stringify({ limits, engine, eager }, undefined, 1)}\n`,
  );
  await writeSection('gpu', text);
}

/** What a program prints, a line of JSON each: one of its own kind, then the others. */
function linesOf<First, Other>(program: string, args: string[]): [First, ...Other[]] {
  const output = execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown) as [First, ...Other[]];
}

function rowOf({ shape, type, floor, pass, merge, coupling, draw, whole }: Engine, eager: Eager | undefined): string {
  const other = eager?.whole ?? NaN;
  const times = [pass, merge, coupling, draw, whole, floor].map((us) => us.toFixed(us < 10 ? 1 : 0));
  const cells = [`${shape.join(' × ')} ${type}`, ...times, (pass / floor).toFixed(1), other.toFixed(0)];
  return `| ${[...cells, (other / whole).toFixed(1)].join(' | ')} |`;
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
