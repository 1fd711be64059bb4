// npm run bench:kernels [-- --seconds 3 --python python3 --only 64x24]
// The engine's kernels against PyTorch eager, the same mathematics as an ONNX graph, plain JavaScript and the machine
// itself (bench/README.md).
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { checkSame } from './kernels/check';
import { Contender, type Case, type Stages } from './kernels/contender';
import { floorSeconds, type Limits } from './kernels/floor';
import { report, type CaseResult, type ContenderName, type Results } from './kernels/report';
import { machine } from './machine';
import { writeSection } from './section';

const root = path.join(__dirname, '..');
const build = path.join(root, 'build', 'bench');
const program = path.join(build, 'kernels_bench');
const shapes: Case['shape'][] = [
  [1, 77, 126464],
  [8, 32, 50258],
  [16, 77, 151936],
  [64, 24, 2048],
];
const rounds = 5;
const mostRepetitions = 50;
const pause = 50; // ms: threads of the last contender that wait for more work by spinning have stopped by then

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    python: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});

async function main(): Promise<void> {
  const about = machine(); // before the build, which is a load too
  execFileSync('cmake', ['-S', root, '-B', build, '-DFKINV_BENCH=ON'], { stdio: ['ignore', 'ignore', 'inherit'] });
  execFileSync('cmake', ['--build', build, '--target', 'kernels_bench', '--parallel', '2'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const python = pythonWithTorch();
  const limits = [1, 2].map(measureLimits);
  const results: Results = { machine: about, limits, cases: [] };
  if (python === undefined) {
    results.machine['PyTorch'] = 'not measured';
    console.error('PyTorch not measured: there is no python3 that can import torch');
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-bench-'));
  try {
    for (const shape of shapes) {
      for (const type of ['float32', 'float16'] as const) {
        const logits = path.join(folder, 'logits');
        const chosen = limits.filter(({ threads }) => nameOf({ shape, type, threads }).includes(options.only));
        if (chosen.length === 0) continue;
        execFileSync(program, ['logits', type, String(shape.reduce((a, b) => a * b)), logits]);
        for (const limit of chosen) {
          const run = { shape, type, threads: limit.threads };
          const contenders = await measure(run, logits, folder, commands(python, run.threads), results.machine);
          results.cases.push({ ...run, floor: floorSeconds(run, limit), contenders });
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }

  const text = await report(results);
  console.log(text);
  if (options.only !== '') return;
  mkdirSync(path.join(__dirname, 'results'), { recursive: true });
  writeFileSync(path.join(__dirname, 'results', 'kernels.json'), `${JSON.stringify(results, undefined, 1)}\n`);
  await writeSection('kernels', text);
}

function nameOf({ shape, type, threads }: Case): string {
  return `${shape.join('x')} ${type} ${threads}`;
}

/** A Python that has PyTorch: the one named, else the first of the usual two. */
function pythonWithTorch(): string | undefined {
  const candidates = options.python === undefined ? ['python3', '/usr/bin/python3'] : [options.python];
  return candidates.find((python) => spawnSync(python, ['-c', 'import torch']).status === 0);
}

function measureLimits(threads: number): Limits {
  const printed = execFileSync(program, ['limits', String(threads)], { encoding: 'utf8' });
  return { threads, ...(JSON.parse(printed) as Omit<Limits, 'threads'>) };
}

function commands(python: string | undefined, threads: number): [ContenderName, string[]][] {
  const inFolder = (file: string): string => path.join(__dirname, 'kernels', file);
  const node = [process.execPath, '--import=tsx'];
  const all: [ContenderName, string[]][] = [['engine', [program, 'run']]];
  if (python !== undefined) all.push(['pytorch', [python, inFolder('torch_eager.py')]]);
  all.push(['onnx', [...node, inFolder('onnx.ts')]]);
  if (threads === 1) all.push(['javascript', [...node, inFolder('javascript.ts')]]);
  return all;
}

/** All contenders, in turns, so that what else the machine does hits all alike; their versions go to `about`. */
async function measure(
  run: Case,
  logits: string,
  folder: string,
  commands: [ContenderName, string[]][],
  about: Results['machine'],
): Promise<CaseResult['contenders']> {
  console.error(nameOf(run));
  const started: { name: ContenderName; contender: Contender; repetitions: number; samples: Stages[] }[] = [];
  try {
    for (const [name, command] of commands) {
      const outcome = path.join(folder, name);
      const contender = await Contender.start(command, run, logits, outcome);
      const { first, about: versions } = contender.first;
      started.push({ name, contender, repetitions: repetitionsOf(name, first), samples: [] });
      checkSame(name, outcome, path.join(folder, 'engine'), run.shape);
      Object.assign(about, versions);
    }
    for (let round = 0; round < rounds; round++) {
      for (const { contender, samples, repetitions } of started) {
        const share = Math.floor(((round + 1) * repetitions) / rounds) - Math.floor((round * repetitions) / rounds);
        await sleep(pause);
        if (share > 0) samples.push(...(await contender.run(share)));
      }
    }
    return Object.fromEntries(
      started.map(({ name, contender, samples }) => {
        const { first, extraBytes, workspaceBytes } = contender.first;
        return [name, { samples: samples.length > 0 ? samples : [first], extraBytes, workspaceBytes }];
      }),
    ) as unknown as CaseResult['contenders'];
  } finally {
    await Promise.all(started.map(({ contender }) => contender.end()));
  }
}

/** As many as there is time for; JavaScript may take so long that its first step is its only one. */
function repetitionsOf(name: ContenderName, first: Stages): number {
  const fewest = name === 'javascript' ? 0 : 2;
  return Math.min(mostRepetitions, Math.max(fewest, Math.floor(Number(options.seconds) / first.whole)));
}

void main();
