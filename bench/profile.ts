// npm run bench:profile [-- --pairs 25 --device cuda --no-write]
// What it costs to record: inversions of one image with and without a profile, in turn, and the ratio of each pair's
// times (bench/README.md).
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Inverter, type Device } from 'fkinv-native';
import { machine } from './machine';
import { writeSection } from './section';

const { values: options } = parseArgs({
  options: {
    pairs: { type: 'string', default: '25' },
    device: { type: 'string' },
    'no-write': { type: 'boolean', default: false },
  },
});

/** Inversions of one image, in milliseconds. */
interface Pair {
  without: number;
  recorded: number;
}

/** What an inverter runs on. */
interface Engine {
  device: Device;
  threads?: number;
}

async function main(): Promise<void> {
  const results: { machine: Record<string, string>; engines: (Engine & { pairs: Pair[] })[] } = {
    machine: machine(),
    engines: [],
  };
  const engines: Engine[] = [1, 2].map((threads) => ({ device: 'cpu', threads }));
  if (options.device !== undefined) engines.push({ device: options.device as Device });
  for (const engine of engines) results.engines.push({ ...engine, pairs: await measure(engine) });

  const facts = Object.entries(results.machine).map(([name, value]) => `${name}: ${value}`);
  const lines = results.engines.map(({ pairs, ...engine }) => `- ${inWords(engine, pairs)}`);
  const text = [facts.join(' · '), '', ...lines].join('\n');
  console.log(text);
  if (options['no-write']) return;
  mkdirSync(path.join(__dirname, 'results'), { recursive: true });
  writeFileSync(path.join(__dirname, 'results', 'profile.json'), `${JSON.stringify(results)}\n`);
  await writeSection('profile', text);
}

async function measure(engine: Engine): Promise<Pair[]> {
  await using inverter = await Inverter.load(engine);
  const image = path.join(__dirname, '..', 'examples', 'bells.png');
  const off = async (): Promise<number> => (await inverter.invert(image)).timings.total;
  const on = async (): Promise<number> => (await inverter.profile(image)).inversion.timings.total;
  await off();
  await on();
  const pairs: Pair[] = [];
  for (let i = 0; i < Number(options.pairs); i++) {
    // Whichever goes first may find the machine otherwise than the second does.
    if (i % 2 === 0) pairs.push({ without: await off(), recorded: await on() });
    else pairs.push({ recorded: await on(), without: await off() });
  }
  return pairs;
}

function inWords({ device, threads }: Engine, pairs: Pair[]): string {
  const ratios = pairs.map(({ without, recorded }) => recorded / without);
  const ratio = (share: number): string => quantile(ratios, share).toFixed(3);
  const where = threads === undefined ? `on ${device}` : `with ${threads} thread${threads === 1 ? '' : 's'}`;
  const spread = `(quartiles ${ratio(0.25)} to ${ratio(0.75)}, ${pairs.length} pairs)`;
  const without = quantile(
    pairs.map((pair) => pair.without),
    0.5,
  ).toFixed(0);
  return `${where}: recorded, an inversion takes ${ratio(0.5)} times ${spread} what it takes without, ${without} ms`;
}

function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))] ?? NaN;
}

void main();
