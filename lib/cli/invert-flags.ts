import { type Command, InvalidArgumentError, Option } from 'commander';
import type { z } from 'zod';
import type { LoadOptions } from '../inverter';
import { rewards, type RewardOptions } from '../sampling/rewards/list';
import {
  deviceSchema,
  invertAllSchema,
  invertSchema,
  maxPixelBytesSchema,
  threadsSchema,
  type Device,
  type ImageOptions,
  type InvertAllOptions,
} from '../options';

type NumericOption =
  | 'length'
  | 'minLength'
  | 'particles'
  | 'steps'
  | 'blockLength'
  | 'guesses'
  | 'essThreshold'
  | keyof RewardOptions
  | 'temperature'
  | 'topK'
  | 'topP'
  | 'seed'
  | 'maxBatch';
type ChoiceOption = 'order' | 'resampling' | 'couplingOver';

/** What the flags for loading the models come to. */
export type LoadFlags = Omit<LoadOptions, 'onWarning' | 'maxQueue' | 'dllm' | 'clip' | 'hintWords'> & {
  dllm?: string;
  clip?: string;
  hintWords?: string;
};

/** What the flags of an inversion of one image come to. */
export interface ImageFlags extends LoadFlags, ImageOptions {
  json?: true;
  verbose?: true;
}

/** What the flags of inversions of many images come to. */
export interface BulkFlags extends LoadFlags, ImageOptions, Pick<InvertAllOptions, 'maxBatch'> {}

/** What the flags of `fkinv invert` come to. */
export interface Flags extends ImageFlags, BulkFlags {
  asOne?: true;
  quiet?: true;
}

/** `text` as a number, or as a bigint where only that is exact; NaN for what is neither. */
function numberOf(text: string): number | bigint {
  if (text.trim() === '') return NaN;
  const value = Number(text);
  return Number.isInteger(value) && !Number.isSafeInteger(value) && /^\d+$/.test(text) ? BigInt(text) : value;
}

/** The default of an option in its schema; a few fit themselves to others, and have none there. */
function defaultOf(name: NumericOption | ChoiceOption): string | undefined {
  return invertAllSchema.shape[name].safeParse(undefined).data?.toString();
}

/** What `schema` makes of a flag's value. */
function checked<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError(`It ${parsed.error.issues[0]?.message ?? 'is invalid'}.`);
}

/** The range of a number in its schema, as it tells it of what lies outside: `1 to 1024`, `above 0, to 1`. */
function rangeOf(schema: z.ZodType): string {
  const told = schema.safeParse(NaN).error?.issues[0]?.message ?? '';
  return told
    .replace(/^must be /, '')
    .replace(/a (whole )?number (from )?/, '')
    .replace(/ \(.*\)$/, '');
}

/**
 * A flag of the option `name`, held to the option's schema. Those that fit themselves to other options or to a model have no
 * default there, and a bound that is not there.
 */
function number(flags: string, name: NumericOption, what: string, fitted: Fitted = {}): Option {
  const schema = invertAllSchema.shape[name];
  const { range = rangeOf(schema), byDefault = defaultOf(name) } = fitted;
  return new Option(flags, `${what} (${range}; default ${byDefault})`).argParser((text: string) =>
    checked(schema, numberOf(text)),
  );
}

interface Fitted {
  range?: string;
  byDefault?: string;
}

/** The same, of one that is one of a few words. */
function choice(flags: string, name: ChoiceOption, what: string): Option {
  const choices = invertAllSchema.shape[name].unwrap().options;
  return new Option(flags, `${what} (${choices.join(', ')}; default ${defaultOf(name)})`).choices(choices);
}

/** Words and token ids of a list such as `cat,hot dog,#17`. */
function bannedOf(text: string): (string | number)[] {
  const entries = text.split(',').map((entry) => entry.trim());
  if (entries.includes('')) throw new InvalidArgumentError('It must be words or #ids, separated by commas.');
  const wrong = entries.find(
    (entry) => /^#[^#]/.test(entry) && !/^#\d+$/.test(entry) && !isNaN(Number(entry.slice(1))),
  );
  if (wrong !== undefined) throw new InvalidArgumentError(`It has ${wrong}: an id is a whole number, as #17.`);
  return entries.map((entry) => (/^#\d+$/.test(entry) ? Number(entry.slice(1)) : entry));
}

/** The flag for the device, in every command that loads models. */
export function deviceFlag(): Option {
  return new Option('--device <device>', 'what it runs on: auto (default; GPUs if there are any), cpu, cuda, cuda:1, …')
    .choices(['auto', 'cpu', 'cuda', 'cuda:1']) // for completion
    .argParser((text: string): Device => checked(deviceSchema, text));
}

/** The flags that are for loading the models, and the others. */
export function split<F extends LoadFlags>(flags: F): { load: LoadFlags; others: Omit<F, keyof LoadFlags> } {
  const { dllm, clip, download, hintWords, threads, maxPixelBytes, device, cudaGraphs, prepacking, ...others } = flags;
  const load: LoadFlags = {
    ...(dllm !== undefined && { dllm }),
    ...(clip !== undefined && { clip }),
    ...(download !== undefined && { download }),
    ...(hintWords !== undefined && { hintWords }),
    ...(threads !== undefined && { threads }),
    ...(maxPixelBytes !== undefined && { maxPixelBytes }),
    ...(device !== undefined && { device }),
    ...(cudaGraphs !== undefined && { cudaGraphs }),
    ...(prepacking !== undefined && { prepacking }),
  };
  return { load, others };
}

/** Adds the flags of `fkinv invert`, in groups under headings. */
export function addInvertFlags(command: Command): Command {
  return addBulkFlags(command)
    .optionsGroup('Prompt:')
    .option('--as-one', 'one prompt of all images, of their average')
    .optionsGroup('Output:')
    .option('--json', 'the whole result: an object for one image, JSON lines for more')
    .option('-q, --quiet', 'the prompt alone, a line an image; no progress, no warnings')
    .option('--verbose', 'the stack of an error too')
    .helpOption('-h, --help', 'print this');
}

/** Adds the flags of inversions of many images, but those of the output. */
export function addBulkFlags(command: Command): Command {
  return addImageFlags(command)
    .optionsGroup('Models:')
    .addOption(
      number('--max-batch <rows>', 'maxBatch', 'the most particles in flight on an engine', {
        range: rangeOf(invertAllSchema.shape.maxBatch).replace(/^1/, 'particles'),
        byDefault: '64',
      }),
    );
}

/** Adds the flags of an inversion of one image, but those of the output. */
export function addImageFlags(command: Command): Command {
  return addModelFlags(addSamplerFlags(command).optionsGroup('Models:'));
}

/** Adds the flag of the list that commands for many images take on stdin. */
export function addListFlag(command: Command): Command {
  return command
    .optionsGroup('List:')
    .option('-0, --null', 'the files of a list on stdin stand between NULs, as find -print0 gives them');
}

/** Adds the flags of the models and the engine. */
export function addModelFlags(command: Command): Command {
  return command
    .option('--dllm <folder>', 'diffusion language model, a folder or hf:org/name (default: the embedded demo model)')
    .option('--clip <folder>', 'CLIP, a folder or hf:org/name (default: the embedded demo model)')
    .option('--download', 'models of the Hugging Face Hub that are not here are fetched')
    .option('--hint-words <file>', 'words that hints are chosen from, one a line (default: 5,000 of the package)')
    .option('--threads <n>', `threads of the engine (${rangeOf(threadsSchema)}; default all, at most 8)`, (text) =>
      checked(threadsSchema, Number(text)),
    )
    .option(
      '--max-pixel-bytes <n>',
      `bytes of decoded pictures at a time (${rangeOf(maxPixelBytesSchema)}; default 512 MiB, or 1/8 of the memory if less)`,
      (text) => checked(maxPixelBytesSchema, Number(text)),
    )
    .addOption(deviceFlag())
    .option('--cuda-graphs', 'a GPU replays the dLLM as CUDA graphs')
    .option('--no-prepacking', 'weights stay in their files: less memory, slower runs');
}

/** Adds the flags of {@link ImageOptions}. */
export function addSamplerFlags(command: Command): Command {
  command
    .optionsGroup('Prompt:')
    .addOption(number('--length <N>', 'length', 'the most tokens of the prompt', { range: "1 to the model's limit" }))
    .addOption(
      number('--min-length <N>', 'minLength', 'positions that cannot end it', { range: '1 to length', byDefault: '4' }),
    )
    .option('--template <text>', 'fixed text around spans of free tokens: "a photo of [6]"; write [[ for [')
    .option('--banned <list>', 'words that it never contains: "cat,hot dog"; #17 is a token id', bannedOf)
    .option('--instruction <text>', "what the dLLM is asked for, in place of its template's own sentence", (text) =>
      checked(invertSchema.shape.instruction, text),
    )
    .option(
      '--hints <n>',
      'words found in the image for a dLLM that sees none, which has 5 by itself; off is 0 (0 to 20; default 0)',
      (text) => checked(invertSchema.shape.hints, text === 'off' ? 0 : numberOf(text)),
    )
    .optionsGroup('Sampler:')
    .addOption(number('--particles <K>', 'particles', 'prompts that are refined together'))
    .addOption(number('--steps <T>', 'steps', 'denoising steps'))
    .addOption(number('--seed <n>', 'seed', 'of every random draw'))
    .addOption(choice('--order <order>', 'order', 'which positions open first'))
    .addOption(
      number('--block-length <n>', 'blockLength', 'positions of a block', {
        range: '1 to length',
        byDefault: 'one block',
      }),
    )
    .addOption(number('--guesses <φ>', 'guesses', 'clean guesses of a particle at each step'))
    .addOption(choice('--resampling <scheme>', 'resampling', 'how ancestors are drawn'))
    .addOption(number('--ess-threshold <x>', 'essThreshold', 'resample below this share of K; 1 always, 0 never'))
    .addOption(number('--temperature <τ>', 'temperature', 'of the draws'))
    .addOption(
      number('--top-k <k>', 'topK', 'draw from the k most probable tokens', { range: '1 or more', byDefault: 'all' }),
    )
    .addOption(number('--top-p <p>', 'topP', 'draw from the fewest tokens of this mass'))
    .optionsGroup('Rewards:');
  for (const { flag, option, field } of rewards) {
    command.addOption(number(`${flag} <λ>`, option, `weight of ${field}; 0 is off`));
  }
  return command.addOption(choice('--coupling-over <which>', 'couplingOver', 'which positions count in rewardEdit'));
}
