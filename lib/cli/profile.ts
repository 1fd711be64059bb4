import path from 'node:path';
import type { Command } from 'commander';
import { replaceFile, type FileKind } from '../files/write-file';
import type { Profile, ProfileCopies, ProfileEntry, ProfileParts } from '../profiling/profile';
import { chromeTrace } from '../profiling/trace';
import { coloursOf } from './colours';
import { section } from './help';
import { untilInterrupted } from './interrupts';
import { aligned } from './table';
import { addImageFlags, split, type ImageFlags } from './invert-flags';
import { printable } from './printable';
import { fetchMissing } from './pull';
import { StepBar } from './progress';
import { exitCodeOf, exitCodes, printLine, reportError, reportWarning } from './report';

interface Flags extends ImageFlags {
  trace?: string;
}

const ownImage = path.join(__dirname, '..', '..', 'examples', 'bells.png');

/** Adds `fkinv profile` to `program`; `finish` is given its exit code. */
export function addProfileCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('profile')
    .description('Invert an image, and show where the time goes.')
    .argument('[image]', 'a file, as of fkinv invert (default: an example of the package)')
    .action(async (image: string | undefined, flags: Flags) => finish(await profile(image ?? ownImage, flags)));
  addImageFlags(command)
    .optionsGroup('Output:')
    .option('--trace <file>', 'write a Chrome trace too, which ui.perfetto.dev opens')
    .option('--json', 'the whole profile: inversion, entries, limits, events')
    .option('--verbose', 'the stack of an error too')
    .helpOption('-h, --help', 'print this')
    .addHelpText('after', explanation);
}

const explanation = [
  section('It prints, for each model, each kernel, and the work on text and image:', [
    'calls     how often it ran; of a model the rows, each on one thread',
    'ms        of all calls, of all threads together, on a GPU by its own clock;',
    '          and the median of a call',
    'MB read   each byte once a call; of a model its inputs, not its weights',
    'GB/s      and GFLOP/s, by its shapes, while it ran',
    'of limit  the time its bytes or operations need at the measured limits,',
    '          over the time it took; over 100 % where it reads from a cache',
    '          or multiplies on tensor cores',
  ]),
  "\nUnder it, where the whole time went; the rest is the sampler itself, and the ways\nbetween the event loop's thread and the engine's.",
  section('Examples:', ['fkinv profile', 'fkinv profile picture.png --threads 1', 'fkinv profile --trace trace.json']),
].join('\n');

async function profile(image: string, flags: Flags): Promise<number> {
  const { load, others } = split(flags);
  const { json, verbose, trace, ...options } = others;
  const { Inverter } = await import('../inverter.js'); // here, so that the other commands work where it does not load
  await fetchMissing(load, false);
  const inverter = await Inverter.load({ ...load, onWarning: reportWarning });
  const bar = new StepBar(image, 1, true);
  try {
    return await untilInterrupted(bar, async (signal) => {
      const onStep = ({ step, steps }: { step: number; steps: number }): void => {
        if (!signal.aborted) bar.update(0, step, steps);
      };
      const result = await inverter.profile(image, { ...options, signal, onStep });
      bar.finish(0);
      if (json === true) printLine({ image, ...result });
      else process.stdout.write(textOf(result));
      if (trace === undefined) return exitCodes.done;
      const text = JSON.stringify(chromeTrace(result));
      await replaceFile(trace, traceKind, text); // behind what is printed, which is not lost with it
      return exitCodes.done;
    });
  } catch (error) {
    reportError(error, verbose === true);
    return exitCodeOf(error);
  } finally {
    await inverter.dispose();
  }
}

const traceKind: FileKind = {
  name: 'trace of fkinv profile',
  remedy: 'give another --trace, or remove it first',
  isOwn: (beginning) => beginning.startsWith('{"traceEvents":[') && beginning.includes('"name":"fkinv-native"'),
  goesToStreams: true,
};

const headings = { model: 'model runs', kernel: 'kernels', text: 'text', image: 'image' } as const;
const kinds = Object.keys(headings) as (keyof typeof headings)[];
const columns = ['', 'calls', 'ms', 'median', 'MB read', 'GB/s', 'GFLOP/s', 'of limit'];

function textOf({ inversion, device, entries, parts, copies, waits, total, limits }: Profile): string {
  const { bold, dim } = coloursOf(process.stdout);
  const rows = kinds.flatMap((kind) => {
    const ofKind = entries.filter((entry) => entry.kind === kind);
    return ofKind.length === 0 ? [] : [[headings[kind]], ...ofKind.map(cellsOf)];
  });
  const [head = '', ...lines] = aligned([columns, ...rows]);
  const shown = lines.map((line) => (line.startsWith(' ') ? line : bold(line)));
  const { threads, flopsPerSecond, bytesPerSecond } = limits;
  const measured = device === 'cpu' ? `with ${threads} thread${threads === 1 ? '' : 's'}` : `on ${device}`;
  const most = `${short(flopsPerSecond / 1e9)} GFLOP/s and ${short(bytesPerSecond / 1e9)} GB/s`;
  return [
    bold(printable(inversion.prompt)),
    '',
    dim(head),
    ...shown,
    '',
    ...linesOf(parts, total),
    ...copiesOf(copies),
    `waits for the device: ${waits}`,
    dim(`limits measured ${measured}: ${most}`),
    ...(device === 'cpu' ? [] : [dim('timed by the GPU, but for text, image, upload and download')]),
    '',
  ].join('\n');
}

function cellsOf({
  name,
  calls,
  total,
  median,
  bytes,
  bytesPerSecond,
  flopsPerSecond,
  limitShare,
}: ProfileEntry): string[] {
  return [
    `  ${name}`,
    String(calls),
    total.toFixed(2),
    median.toFixed(3),
    orNone(bytes, (b) => short(b / 1e6)),
    orNone(bytesPerSecond, (b) => short(b / 1e9)),
    orNone(flopsPerSecond, (f) => (f === 0 ? '–' : short(f / 1e9))),
    orNone(limitShare, percent),
  ];
}

/** The parts of the total, and what is not a model's. */
function linesOf(parts: ProfileParts, total: number): string[] {
  const { models, kernels, text, image, rest } = parts;
  const rows = Object.entries({ 'model runs': models, kernels, text, image, rest, 'total ms': total });
  const lines = aligned(rows.map(([name, ms]) => [name, ms.toFixed(2), percent(ms / total)]));
  return [...lines, `between the model runs: ${percent((kernels + text + rest) / total)} (kernels, text and rest)`];
}

/** Kilobytes by what they are for. */
function copiesOf(copies: ProfileCopies): string[] {
  const names = {
    setUp: 'set-up',
    tokenIds: 'token ids',
    textIds: 'text ids',
    rewards: 'rewards',
    ancestors: 'ancestors',
    result: 'result',
  };
  const rows = Object.entries(names).map(([key, name]) => {
    const { toDevice, toHost } = copies[key as keyof typeof names];
    return [name, short(toDevice / 1e3), short(toHost / 1e3)];
  });
  return ['', ...aligned([['copied, kB', 'to the device', 'to the host'], ...rows])];
}

function orNone(value: number | null, shown: (value: number) => string): string {
  return value === null ? '–' : shown(value);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Three digits, or all before the point. */
function short(value: number): string {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}
