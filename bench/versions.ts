// npm run bench:versions -- FOLDER [--rounds 12 --only results|inversions|kernels]
// This version of the package against another, built in FOLDER (npm install there): whether both give the same results to
// the bit, and how long each takes, in turns in one run. Exits with 1 where a result differs, or where this version is
// slower: where the 95 % interval of a ratio lies above 1.03.
import { fork, execFileSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { InvertAllOptions } from 'fkinv-native';
import { Contender, type Case } from './kernels/contender';
import { loadScenes } from './scenes';
import { ratioOf } from './statistics';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '12' }, only: { type: 'string' } },
});
const rounds = Number(values.rounds);
const here = path.join(__dirname, '..');
const other = path.resolve(positionals[0] ?? '.');
const slower = 1.03;

/** Settings that go through every kernel: each order, each scheme, truncation, several guesses, bans, a template. */
const settings: Record<string, InvertAllOptions> = {
  default: {},
  'confidence, stratified, 3 guesses': { order: 'confidence', resampling: 'stratified', guesses: 3, steps: 12 },
  'entropy, residual, top-k and top-p': { order: 'entropy', resampling: 'residual', topK: 50, topP: 0.9, steps: 12 },
  'margin, systematic, τ 0.7, blocks': { order: 'margin', resampling: 'systematic', temperature: 0.7, blockLength: 14 },
  'ESS below a half, a ban, a template': {
    essThreshold: 0.5,
    banned: ['plain', 'flat'],
    template: 'a picture of [20]',
  },
  '16 in flight': { maxBatch: 128 },
};

/** One version, in a process of its own. */
class Side {
  private constructor(private readonly child: ChildProcess) {}

  static async start(folder: string, threads: number): Promise<Side> {
    const child = fork(path.join(__dirname, 'versions', 'side.cjs'), [folder, String(threads)], { execArgv: [] });
    await once(child, 'message');
    return new Side(child);
  }

  async ask(files: string[], options: object, isTimed: boolean): Promise<unknown> {
    this.child.send({ files, options, isTimed });
    const [answer] = (await once(this.child, 'message')) as [unknown];
    return answer;
  }

  [Symbol.dispose](): void {
    this.child.kill();
  }
}

/** Inverts every scene with two seeds by both; how many results differ. */
async function compareResults(): Promise<number> {
  using ours = await Side.start(here, 2);
  using theirs = await Side.start(other, 1);
  const files = loadScenes().map(({ file }) => file);
  let different = 0;
  for (const [name, options] of Object.entries(settings)) {
    let differ = 0;
    for (const seed of [0, 1]) {
      const asked = [ours, theirs].map((side) => side.ask(files, { ...options, seed }, false));
      const [a, b] = (await Promise.all(asked)) as [unknown[], unknown[]];
      differ += files.filter((_, i) => JSON.stringify(a[i]) !== JSON.stringify(b[i])).length;
    }
    console.log(`results, ${name}: ${differ} of ${2 * files.length} differ`);
    different += differ;
  }
  return different;
}

/** Prints how long ours takes for each second of theirs; whether it is slower. */
function report(name: string, ours: number[], theirs: number[]): boolean {
  const { ratio, low, high } = ratioOf(ours, theirs);
  const isSlower = low > slower;
  const interval = `${low.toFixed(3)} to ${high.toFixed(3)}`;
  console.log(`${name}: ${ratio.toFixed(3)} of the other's time (95 %: ${interval})${isSlower ? ', slower' : ''}`);
  return isSlower;
}

async function compareInversions(): Promise<number> {
  const files = loadScenes().map(({ file }) => file);
  let slow = 0;
  for (const threads of [1, 2]) {
    using ours = await Side.start(here, threads);
    using theirs = await Side.start(other, threads);
    for (const [name, options, count] of [
      ['one at a time', {}, 8],
      ['16 in flight', { maxBatch: 128 }, 24],
    ] as const) {
      const seconds = { ours: [] as number[], theirs: [] as number[] };
      for (const side of [ours, theirs]) await side.ask(files.slice(0, 2), options, true);
      for (let round = 0; round < rounds; round++) {
        const first = (round * count) % (files.length - count + 1);
        const job = [files.slice(first, first + count), { ...options, seed: round }, true] as const;
        const turns = [
          async () => seconds.ours.push((await ours.ask(...job)) as number),
          async () => seconds.theirs.push((await theirs.ask(...job)) as number),
        ];
        for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
      }
      if (report(`inversions, ${threads} threads, ${name}`, seconds.ours, seconds.theirs)) slow++;
    }
  }
  return slow;
}

/** Each version's kernels_bench, built in a folder of its own, as contenders of npm run bench:kernels. */
async function compareKernels(): Promise<number> {
  const programs = [here, other].map((root) => {
    const build = path.join(root, 'build', 'bench');
    execFileSync('cmake', ['-S', root, '-B', build, '-DFKINV_BENCH=ON'], { stdio: ['ignore', 'ignore', 'inherit'] });
    const target = ['--build', build, '--target', 'kernels_bench', '--parallel', '2'];
    execFileSync('cmake', target, { stdio: ['ignore', 'ignore', 'inherit'] });
    return path.join(build, 'kernels_bench');
  });
  const [program = ''] = programs;
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-versions-'));
  const logits = path.join(folder, 'logits');
  let slow = 0;
  try {
    for (const shape of [
      [1, 77, 126464],
      [8, 32, 50258],
      [64, 24, 2048],
    ] as Case['shape'][]) {
      for (const type of ['float32', 'float16'] as const) {
        execFileSync(program, ['logits', type, String(shape.reduce((a, b) => a * b)), logits]);
        for (const threads of [1, 2]) {
          const run: Case = { shape, type, threads };
          const seconds: number[][] = [[], []];
          for (let round = 0; round < rounds; round++) {
            // Each round has processes of its own: how fast one is depends on where its memory lies, for as long as it lives.
            const start = (at: string, i: number): Promise<Contender> =>
              Contender.start([at, 'run'], run, logits, path.join(folder, String(i)));
            const started = await Promise.all(programs.map(start));
            const turns = [...started.entries()];
            for (const [i, contender] of round % 2 === 0 ? turns : turns.reverse()) {
              const steps = (await contender.run(5)).map(({ whole }) => whole).sort((a, b) => a - b);
              seconds[i]?.push(steps[2] ?? NaN);
            }
            await Promise.all(started.map((contender) => contender.end()));
          }
          const [ours = [], theirs = []] = seconds;
          if (report(`kernels, ${shape.join('x')} ${type}, ${threads} threads`, ours, theirs)) slow++;
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return slow;
}

async function main(): Promise<void> {
  const parts = { results: compareResults, inversions: compareInversions, kernels: compareKernels };
  let faults = 0;
  for (const [name, compare] of Object.entries(parts)) {
    if (values.only === undefined || values.only === name) faults += await compare();
  }
  process.exitCode = faults === 0 ? 0 : 1;
}

void main();
