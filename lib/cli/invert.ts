import { type Command, InvalidArgumentError, Option } from 'commander';
import { FkinvError } from '../errors';
import type { Inversion } from '../inversion';
import { Inverter, type LoadOptions } from '../inverter';
import { invertSchema, type InvertOptions } from '../options';
import { coloursOf } from './colours';
import { StepBar } from './progress';
import { exitCodes, reportError } from './report';

type NumericOption =
  'length' | 'minLength' | 'particles' | 'steps' | 'lambdaClip' | 'lambdaEdit' | 'temperature' | 'seed';

interface Flags extends LoadOptions, Omit<InvertOptions, 'signal' | 'onStep'> {
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
    const parsed = invertSchema.shape[name].safeParse(numberOf(text));
    if (parsed.success) return parsed.data;
    throw new InvalidArgumentError(`It ${parsed.error.issues[0]?.message ?? 'is invalid'}.`);
  });
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
    .addOption(numericFlag('--particles <K>', 'particles', 'particles (default: 8)'))
    .addOption(numericFlag('--steps <T>', 'steps', 'denoising steps (default: 24)'))
    .addOption(numericFlag('--lambda-clip <λ>', 'lambdaClip', 'weight of the alignment reward (default: 100)'))
    .addOption(numericFlag('--lambda-edit <λ>', 'lambdaEdit', 'weight of the disentanglement reward (default: 20)'))
    .addOption(numericFlag('--temperature <τ>', 'temperature', 'of the draws: 0, or 0.06 to 10 (default: 1)'))
    .addOption(
      new Option(
        '--coupling-over <positions>',
        'which positions count in the disentanglement reward (default: text)',
      ).choices(['text', 'all']),
    )
    .addOption(numericFlag('--seed <n>', 'seed', 'of every random draw (default: 0)'))
    .option('--dllm <folder>', 'discrete diffusion language model (default: the embedded demo model)')
    .option('--clip <folder>', 'CLIP (default: the embedded demo model)')
    .option('--threads <n>', 'threads of the engine (default: all, at most 8)', threadsFlag)
    .option('--json', 'print the whole result: an object for one image, JSON lines for more')
    .option('--verbose', 'print the stack of an error')
    .action(async (images: string[], flags: Flags) => finish(await invertAll(images, flags)));
}

async function invertAll(images: string[], { dllm, clip, threads, json, verbose, ...options }: Flags): Promise<number> {
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  const load: LoadOptions = {
    ...(dllm !== undefined && { dllm }),
    ...(clip !== undefined && { clip }),
    ...(threads !== undefined && { threads }),
  };
  const inverter = await Inverter.load(load);
  process.once('SIGINT', onInterrupt); // before, the default handler ends the process at once
  let failed = 0;
  try {
    for (const image of images) {
      const bar = new StepBar(image);
      try {
        const inversion = await inverter.invert(image, {
          ...options,
          signal: interrupt.signal,
          onStep: ({ step, steps }) => bar.update(step, steps),
        });
        bar.stop();
        print(image, inversion, json === true, images.length > 1);
      } catch (error) {
        bar.stop();
        if (interrupt.signal.aborted) {
          process.stderr.write('interrupted\n');
          return exitCodes.interrupted;
        }
        if (error instanceof FkinvError && error.code === 'INVALID_OPTION') throw error;
        failed++;
        reportError(error, verbose === true, image);
        if (json === true && error instanceof FkinvError) {
          process.stdout.write(`${JSON.stringify({ image, error: { code: error.code, message: error.message } })}\n`);
        }
      }
    }
  } finally {
    process.off('SIGINT', onInterrupt);
    await inverter.dispose();
  }
  return failed > 0 ? exitCodes.failed : exitCodes.done;
}

function print(image: string, inversion: Inversion, json: boolean, several: boolean): void {
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
    `${(timings.total / 1000).toFixed(2)} s`,
  ];
  const colours = coloursOf(stdout);
  stdout.write(
    `${several ? `${colours.dim(`${image}:`)} ` : ''}${colours.bold(prompt)}\n  ${colours.dim(facts.join('  '))}\n`,
  );
  for (const warning of warnings) stderr.write(`${coloursOf(stderr).yellow('warning:')} ${image}: ${warning}\n`);
}
