import { type Command, InvalidArgumentError, Option } from 'commander';
import { FkinvError } from '../errors';
import type { Inversion } from '../inversion';
import type { LoadOptions } from '../inverter';
import { invertAllSchema, type InvertAllOptions } from '../options';
import { orders, resamplingSchemes } from '../schemes';
import { coloursOf } from './colours';
import { StepBar } from './progress';
import { exitCodes, reportError } from './report';

type NumericOption =
  | 'length'
  | 'minLength'
  | 'particles'
  | 'steps'
  | 'blockLength'
  | 'guesses'
  | 'essThreshold'
  | 'lambdaClip'
  | 'lambdaEdit'
  | 'temperature'
  | 'topK'
  | 'topP'
  | 'seed'
  | 'maxBatch';

interface Flags extends LoadOptions, Omit<InvertAllOptions, 'signal' | 'onStep'> {
  asOne?: true;
  json?: true;
  verbose?: true;
}

/** `text` as a number, or as a bigint where only that is exact; NaN for what is neither. */
function numberOf(text: string): number | bigint {
  if (text.trim() === '') return NaN;
  const value = Number(text);
  return Number.isInteger(value) && !Number.isSafeInteger(value) && /^\d+$/.test(text) ? BigInt(text) : value;
}

/** A flag of the option `name`, held to the schema of the library's option. */
function numericFlag(flags: string, name: NumericOption, description: string): Option {
  return new Option(flags, description).argParser((text: string) => {
    const parsed = invertAllSchema.shape[name].safeParse(numberOf(text));
    if (parsed.success) return parsed.data;
    throw new InvalidArgumentError(`It ${parsed.error.issues[0]?.message ?? 'is invalid'}.`);
  });
}

/** Words and token ids of a list such as `cat,hot dog,#17`. */
function bannedFlag(text: string): (string | number)[] {
  const entries = text.split(',').map((entry) => entry.trim());
  if (entries.includes('')) throw new InvalidArgumentError('It must be words or #ids, separated by commas.');
  return entries.map((entry) => (/^#\d+$/.test(entry) ? Number(entry.slice(1)) : entry));
}

function threadsFlag(text: string): number {
  const threads = Number(text);
  if (Number.isInteger(threads) && threads >= 1 && threads <= 256) return threads;
  throw new InvalidArgumentError('It must be a whole number from 1 to 256.');
}

/** Adds `fkinv invert` to `program`; `finish` is given its exit code. */
export function addInvertCommand(program: Command, finish: (code: number) => void): void {
  program
    .command('invert')
    .description('Recover one prompt an image, with its rewards.')
    .argument('<image...>', 'image files')
    .addOption(numericFlag('--length <N>', 'length', "prompt positions, in the model's tokens (default: 28)"))
    .addOption(numericFlag('--min-length <N>', 'minLength', 'positions that cannot end the prompt (default: 4)'))
    .option('--template <text>', 'fixed text around free spans: "a photo of [6], [10] at dusk"; [[ is a literal [')
    .addOption(
      new Option('--banned <list>', 'words that no prompt contains, separated by commas; #17 is a token id').argParser(
        bannedFlag,
      ),
    )
    .addOption(numericFlag('--particles <K>', 'particles', 'particles (default: 8)'))
    .addOption(numericFlag('--steps <T>', 'steps', 'denoising steps (default: 24)'))
    .addOption(new Option('--order <order>', 'which positions open first (default: random)').choices(orders))
    .addOption(numericFlag('--block-length <n>', 'blockLength', 'positions of a block (default: one block)'))
    .addOption(numericFlag('--guesses <φ>', 'guesses', 'clean guesses of a particle at each step (default: 1)'))
    .addOption(
      new Option('--resampling <scheme>', 'how ancestors are drawn (default: multinomial)').choices(resamplingSchemes),
    )
    .addOption(
      numericFlag('--ess-threshold <x>', 'essThreshold', 'resample below this share of K (default: 1, always)'),
    )
    .addOption(numericFlag('--lambda-clip <λ>', 'lambdaClip', 'weight of the alignment reward (default: 100)'))
    .addOption(numericFlag('--lambda-edit <λ>', 'lambdaEdit', 'weight of the disentanglement reward (default: 20)'))
    .addOption(numericFlag('--temperature <τ>', 'temperature', 'of the draws: 0, or 0.06 to 10 (default: 1)'))
    .addOption(numericFlag('--top-k <k>', 'topK', 'draw from the k most probable tokens (default: all)'))
    .addOption(numericFlag('--top-p <p>', 'topP', 'draw from the fewest tokens of this mass (default: 1)'))
    .addOption(
      new Option(
        '--coupling-over <positions>',
        'which positions count in the disentanglement reward (default: text)',
      ).choices(['text', 'all']),
    )
    .addOption(numericFlag('--seed <n>', 'seed', 'of every random draw (default: 0)'))
    .addOption(numericFlag('--max-batch <rows>', 'maxBatch', 'the most rows of one forward (default: 64)'))
    .option('--as-one', 'take all images as one reference: one prompt of their average')
    .option('--dllm <folder>', 'discrete diffusion language model (default: the embedded demo model)')
    .option('--clip <folder>', 'CLIP (default: the embedded demo model)')
    .option('--threads <n>', 'threads of the engine (default: all, at most 8)', threadsFlag)
    .option('--json', 'print the whole result: an object for one image, JSON lines for more')
    .option('--verbose', 'print the stack of an error')
    .action(async (images: string[], flags: Flags) => finish(await invertEach(images, flags)));
}

async function invertEach(files: string[], flags: Flags): Promise<number> {
  const { dllm, clip, threads, json, verbose, asOne, ...options } = flags;
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  const load: LoadOptions = {
    ...(dllm !== undefined && { dllm }),
    ...(clip !== undefined && { clip }),
    ...(threads !== undefined && { threads }),
  };
  const { Inverter } = await import('../inverter.js'); // here, so that the other commands work where it does not load
  const inverter = await Inverter.load(load);
  const images = asOne === true ? [files] : files;
  const bar = new StepBar(images.length === 1 ? files.join(', ') : `${images.length} images`, images.length);
  process.once('SIGINT', onInterrupt); // before, the default handler ends the process at once
  let failed = 0;
  try {
    const results = inverter.invertAll(images, {
      ...options,
      signal: interrupt.signal,
      onStep: ({ step, steps }, index) => bar.update(index, step, steps),
    });
    let index = 0;
    for await (const result of results) {
      const image = images[index++] ?? [];
      bar.clear();
      if (result instanceof FkinvError) {
        failed++;
        fail(image, result, json === true, verbose === true);
      } else {
        print(image, result, json === true, images.length > 1);
      }
    }
  } catch (error) {
    bar.clear();
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write('interrupted\n');
    return exitCodes.interrupted;
  } finally {
    bar.clear();
    process.off('SIGINT', onInterrupt);
    await inverter.dispose();
  }
  return failed > 0 ? exitCodes.failed : exitCodes.done;
}

/** An image's file, or the files of one reference. */
type Image = string | string[];
const nameOf = (image: Image): string => [image].flat().join(', ');

function fail(image: Image, error: FkinvError, json: boolean, verbose: boolean): void {
  reportError(error, verbose, nameOf(image));
  if (!json) return;
  process.stdout.write(`${JSON.stringify({ image, error: { code: error.code, message: error.message } })}\n`);
}

function print(image: Image, inversion: Inversion, json: boolean, several: boolean): void {
  const { stdout, stderr } = process;
  if (json) {
    // A seed over 2^53 − 1 is a bigint, which JSON has not: written as a string, as the flag takes it.
    const line = JSON.stringify({ image, ...inversion }, (_, value: unknown) =>
      typeof value === 'bigint' ? value.toString() : value,
    );
    stdout.write(`${line}\n`);
    return;
  }
  const { prompt, rewardClip, rewardEdit, reward, seed, timings, warnings } = inversion;
  const facts = [
    `rewardClip ${rewardClip.toFixed(4)}`,
    `rewardEdit ${rewardEdit.toFixed(4)}`,
    `reward ${reward.toFixed(2)}`,
    `seed ${seed}`,
    `${(timings.total / 1000).toFixed(2)} s${timings.images > 1 ? ` for ${timings.images} together` : ''}`,
  ];
  const colours = coloursOf(stdout);
  stdout.write(
    `${several ? `${colours.dim(`${nameOf(image)}:`)} ` : ''}${colours.bold(prompt)}\n  ${colours.dim(facts.join('  '))}\n`,
  );
  for (const warning of warnings)
    stderr.write(`${coloursOf(stderr).yellow('warning:')} ${nameOf(image)}: ${warning}\n`);
}
