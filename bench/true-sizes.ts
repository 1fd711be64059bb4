// npm run bench:true-sizes -- --clip FOLDER DLLM... [--threads 2 --particles 4 --length 32 --steps 8]
// What an inversion takes of time and memory with models of the sizes that people use: each dLLM with the CLIP, with ONNX
// Runtime's prepacking and without, each in a process of its own. `true-sizes.py` makes such models, with random weights.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Inverter, type InvertOptions } from 'fkinv-native';

const root = path.join(__dirname, '..');
const picture = path.join(root, 'examples', 'bells.png');

/** What a process of its own is asked to do; without a dLLM the embedded one. */
interface Task {
  dllm?: string;
  clip?: string;
  threads: number;
  prepacking: boolean;
  options: InvertOptions;
}

/** What it came to: milliseconds, and bytes of the process. */
interface Measured {
  load: number;
  invert: number;
  stages: { dllm: number; clip: number };
  loaded: Memory;
  peak: Memory;
}

/** Of /proc/self/status: the most that was resident, and what is resident now that lies in no file. */
interface Memory {
  VmHWM: number;
  RssAnon: number;
}

function memory(): Memory {
  const status = readFileSync('/proc/self/status', 'utf8');
  const of = (key: string): number => 1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { VmHWM: of('VmHWM'), RssAnon: of('RssAnon') };
}

async function run({ options, ...load }: Task): Promise<Measured> {
  const start = performance.now();
  await using inverter = await Inverter.load({ ...load, device: 'cpu' });
  const loaded = memory();
  const ready = performance.now();
  const { timings } = await inverter.invert(picture, options);
  const stage = (name: string): number => timings.stages[name]?.ms ?? NaN;
  return {
    load: ready - start,
    invert: performance.now() - ready,
    stages: { dllm: stage('denoise'), clip: stage('encodeText') + stage('encodeImage') },
    loaded,
    peak: memory(),
  };
}

function measure(task: Task): Measured {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--require=tsx/cjs', __filename, '--task', JSON.stringify(task)],
    { cwd: root, encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Measured;
}

/** What `fkinv models check` says that such an inversion takes, in bytes. */
function predicted(dllm: string, clip: string): number {
  const cli = path.join(root, 'dist', 'cli.js');
  const out = execFileSync(process.execPath, [cli, 'models', 'check', clip, dllm, '--json'], { encoding: 'utf8' });
  const reports = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { footprint: { bytes: number } | null });
  return reports.at(-1)?.footprint?.bytes ?? NaN;
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      clip: { type: 'string' },
      threads: { type: 'string', default: '2' },
      particles: { type: 'string', default: '4' },
      length: { type: 'string', default: '32' },
      steps: { type: 'string', default: '8' },
      task: { type: 'string' },
    },
  });
  if (values.task !== undefined) {
    void run(JSON.parse(values.task) as Task).then((measured) => console.log(JSON.stringify(measured)));
    return;
  }
  const { clip } = values;
  if (clip === undefined) throw new Error('--clip FOLDER is missing');
  const options = {
    particles: Number(values.particles),
    length: Number(values.length),
    steps: Number(values.steps),
    seed: 0,
    hints: 0, // words of hints are embedded once, and not by each process
  };
  const threads = Number(values.threads);
  const head = ['dLLM', 'prepacking', 'load s', 'inversion s', 'dLLM share', 'CLIP share', 'VmHWM GB', 'RssAnon GB'];
  const columns = [...head, 'of it CLIP', 'predicted GB'];
  console.log(`| ${columns.join(' | ')} |\n|${columns.map(() => ' --- ').join('|')}|`);
  for (const dllm of positionals) {
    for (const prepacking of [true, false]) {
      const task = { dllm, threads, prepacking, options };
      const whole = measure({ ...task, clip });
      const withoutClip = measure(task);
      const share = (ms: number): string => `${((100 * ms) / whole.invert).toFixed(0)} %`;
      const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);
      const cells = [
        path.basename(dllm),
        prepacking ? 'on' : 'off',
        (whole.load / 1000).toFixed(1),
        (whole.invert / 1000).toFixed(1),
        share(whole.stages.dllm),
        share(whole.stages.clip),
        gigabytes(whole.peak.VmHWM),
        gigabytes(whole.peak.RssAnon),
        gigabytes(whole.peak.RssAnon - withoutClip.peak.RssAnon),
        prepacking ? gigabytes(predicted(dllm, clip)) : '',
      ];
      console.log(`| ${cells.join(' | ')} |`);
    }
  }
}

main();
