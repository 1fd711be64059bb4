// npm run bench:inversions [-- --rounds 5 --images 16 --python python3 --no-write]
// Whole inversions of the scenes against the method in plain PyTorch (bench/reference) with equal threads, where their
// time goes, and how cost grows with the images in flight (bench/README.md).
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Inverter } from 'fkinv-native';
import { invertScenes } from './inversions/engine';
import type { InFlight } from './inversions/in-flight';
import { findPython, Reference, type Job } from './inversions/reference';
import { report, type Comparison, type Results } from './inversions/report';
import { machine } from './machine';
import { writeSection } from './section';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    images: { type: 'string', default: '16' },
    python: { type: 'string' },
    'no-write': { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  const python = findPython(options.python);
  if (python === undefined) console.log('reference not measured: no python3 that can import torch, numpy and PIL\n');
  const results: Results = { machine: machine(), comparisons: [], inFlight: [] };
  for (const threads of [1, 2]) results.comparisons.push(...(await compare(threads, python, results)));
  for (const inFlight of [1, 2, 4, 8, 16, 64]) results.inFlight.push(measureInFlight(inFlight, 2));

  const text = report(results);
  console.log(text);
  if (options['no-write']) return;
  mkdirSync(path.join(__dirname, 'results'), { recursive: true });
  writeFileSync(path.join(__dirname, 'results', 'inversions.json'), `${JSON.stringify(results)}\n`);
  await writeSection('inversions', text);
}

/** One image at a time and 16, both sides in turns, so that what else the machine does hits both alike. */
async function compare(threads: number, python: string | undefined, { machine }: Results): Promise<Comparison[]> {
  await using inverter = await Inverter.load({ threads });
  const started = python === undefined ? undefined : await Reference.start(python, threads);
  await using reference = started?.reference;
  Object.assign(machine, started?.about);
  const count = Number(options.images);
  const comparisons: Comparison[] = [
    { threads, batch: 1, count, target: 1, engine: [], reference: [] },
    { threads, batch: 16, count, target: threads + 1, engine: [], reference: [] },
  ];
  const warmUp = { count: 1, batch: 1, seed: 0 };
  await invertScenes(inverter, warmUp);
  await reference?.measure(warmUp);
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const { batch, engine, reference: outcomes } of comparisons) {
      const job: Job = { count, batch, seed: round };
      engine.push(await invertScenes(inverter, job));
      if (reference !== undefined) outcomes.push(await reference.measure(job));
      console.error(`${threads} threads, ${batch} in flight, round ${round}`);
    }
  }
  return comparisons;
}

function measureInFlight(inFlight: number, threads: number): InFlight {
  const script = path.join(__dirname, 'inversions', 'in-flight.ts');
  const args = ['--import=tsx', script, String(inFlight), String(threads)];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as InFlight;
}

void main();
