import type { Command } from 'commander';
import { formats } from '../bulk/formats';
import { FkinvError } from '../errors';
import type { Inversion } from '../inversion';
import { coloursOf } from './colours';
import { section } from './help';
import { untilInterrupted } from './interrupts';
import { addInvertFlags, split, type Flags } from './invert-flags';
import { printable } from './printable';
import { fetchMissing } from './pull';
import { StepBar } from './progress';
import { rewards } from '../sampling/rewards/list';
import { exitCodes, printLine, reportError, reportWarning } from './report';

/** Adds `fkinv invert` to `program`; `finish` is given its exit code. */
export function addInvertCommand(program: Command, finish: (code: number) => void): void {
  const command = program
    .command('invert')
    .description('Recover a prompt of each image.')
    .argument('<image...>', `files: ${formats}; - is standard input`)
    .action(async (images: string[], flags: Flags) => finish(await invertEach(images, flags)));
  addInvertFlags(command).addHelpText('after', explanation);
}

const factWidth = Math.max(...rewards.map(({ field }) => field.length)) + 2;
const fact = (name: string, what: string): string => name.padEnd(factWidth) + what;

const explanation = [
  section('It prints the prompt, and under it:', [
    ...rewards.map(({ field, what }) => fact(field, what)),
    fact('reward', 'the sum of these, each weighted by its --lambda'),
    fact('seed', 'which gives the same prompt again, and the seconds it took'),
  ]),
  section('Examples:', [
    'fkinv invert picture.png',
    'fkinv invert picture.png --particles 16 --seed 7',
    'fkinv invert *.png --quiet > prompts.txt',
    'curl -s https://example.org/picture.jpg | fkinv invert -',
    "fkinv invert picture.png --template 'a photo of [6], [10] at dusk'",
    'fkinv invert front.png side.png --as-one --json',
    'fkinv invert picture.png --dllm my-models/dllm --clip my-models/clip',
  ]),
  "\nA model's fkinv.json may have defaults of its own.",
].join('\n');

async function invertEach(files: string[], flags: Flags): Promise<number> {
  const { load, others } = split(flags);
  const { asOne, json, quiet, verbose, ...options } = others;
  const { Inverter } = await import('../inverter.js'); // here, so that the other commands work where it does not load
  const onWarning = quiet === true ? (): void => undefined : reportWarning;
  const stdin = files.includes(stdinName) ? await readStdin() : undefined;
  const contents = files.map((file) => (file === stdinName ? (stdin ?? file) : file));
  await fetchMissing(load, quiet === true);
  const inverter = await Inverter.load({ ...load, onWarning });
  const images = asOne === true ? [files] : files;
  const several = images.length > 1;
  const output = { json: json === true, quiet: quiet === true, verbose: verbose === true, several };
  const label = several ? `${images.length} images` : files.join(', ');
  const bar = new StepBar(label, images.length, !output.quiet);
  try {
    // An interruption is handled from here on: before, the signal itself ends the process, which has nothing to lose.
    return await untilInterrupted(bar, (signal) => {
      const results = inverter.invertAll(asOne === true ? [contents] : contents, {
        ...options,
        signal,
        onStep({ step, steps }, index) {
          if (!signal.aborted) bar.update(index, step, steps);
        },
      });
      return showEach(results, images, bar, output);
    });
  } finally {
    await inverter.dispose();
  }
}

/** In place of a file: the image is read from standard input. */
const stdinName = '-';

/** Bytes of an image on standard input, which may have no end. */
const mostOfStdin = 2 ** 30;

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > mostOfStdin)
      throw new FkinvError('IMAGE_INVALID', 'standard input has more than a gibibyte: no image');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** An image's file, or the files of one reference. */
type Image = string | string[];

interface Output {
  json: boolean;
  quiet: boolean;
  verbose: boolean;
  /** Whether there are several images, so that each is named. */
  several: boolean;
}

/** Prints what comes of each of the `images`, and gives the exit code. */
async function showEach(
  results: AsyncIterable<Inversion | FkinvError>,
  images: readonly Image[],
  bar: StepBar,
  output: Output,
): Promise<number> {
  let code: number = exitCodes.done;
  let index = 0;
  for await (const result of results) {
    const image = images[index] ?? [];
    bar.finish(index++);
    if (result instanceof FkinvError) code = exitCodes.failed;
    show(image, result, output);
  }
  return code;
}

/** Prints what came of `image`. */
function show(image: Image, result: Inversion | FkinvError, { json, quiet, verbose, several }: Output): void {
  const name = [image].flat().join(', ');
  if (result instanceof FkinvError) reportError(result, verbose, name);
  if (json) printJson(image, result);
  else if (result instanceof FkinvError) return;
  else if (quiet) process.stdout.write(`${process.stdout.isTTY ? printable(result.prompt) : result.prompt}\n`);
  else print(result, name, several);
}

/** The whole of it in one line. */
function printJson(image: Image, result: Inversion | FkinvError): void {
  const shown = result instanceof FkinvError ? { error: { code: result.code, message: result.message } } : result;
  printLine({ image, ...shown });
}

/** The prompt, with the image's name where there are `several`, its rewards and warnings. */
function print(inversion: Inversion, name: string, several: boolean): void {
  const { stdout } = process;
  const { prompt, reward, hints, seed, timings, warnings } = inversion;
  const facts = [
    ...rewards.map(({ field }) => `${field} ${inversion[field].toFixed(4)}`),
    `reward ${reward.toFixed(2)}`,
    `seed ${seed}`,
    `${(timings.total / 1000).toFixed(2)} s${timings.images > 1 ? ` for ${timings.images} together` : ''}`,
  ];
  const { bold, dim } = coloursOf(stdout);
  stdout.write(
    `${several ? `${dim(`${printable(name)}:`)} ` : ''}${bold(printable(prompt))}\n  ${dim(facts.join('  '))}\n`,
  );
  if (hints.length > 0) stdout.write(`  ${dim(printable(`hints ${hints.join(', ')}`))}\n`);
  for (const warning of warnings) reportWarning(`${name}: ${warning}`);
}
