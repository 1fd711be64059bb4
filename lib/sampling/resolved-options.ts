import type { z } from 'zod';
import { BanList } from './banned';
import type { Dllm } from '../models/dllm';
import { FkinvError } from '../errors';
import { manifestName } from '../models/manifest';
import type { NativeRestriction } from '../native/addon';
import {
  invertAllSchema,
  invertSchema,
  type AsFinishedOptions,
  type InvertAllOptions,
  type InvertOptions,
} from '../options';
import { parseTemplate, type Template } from './template';
import { validate } from '../util/validate';

/** Rows of a forward where neither the call nor the model says how many. */
const defaultRows = 64;

/** {@link InvertOptions} with every default filled in, and what they come to for a model. */
export type ResolvedOptions = z.output<typeof invertSchema> & {
  /**
   * Equal for images that can share forwards: it has every option but the seed, `signal` and `onStep`, which are each image's
   * own.
   */
  key: string;
  minLength: number;
  blockLength: number;
  /** The most blocks that the prompt can have: there is at least a step for each. */
  blocks: number;
  /** [length] the fixed token of a position, −1 where it is free. */
  pinned: Int32Array;
  /** Ids that no position may hold. */
  suppressed: Int32Array;
  restrictions: NativeRestriction[];
  bans: BanList | undefined;
};

function fail(message: string): never {
  throw new FkinvError('INVALID_OPTION', `options of invert: ${message}`);
}

/** The options' schemas with a model's own defaults in place of the package's. */
interface Schemas {
  ofImage: typeof invertSchema;
  ofCall: typeof invertAllSchema;
}

/** The schemas of each model are kept, since a schema is compiled when it is used for the first time. */
const schemas = new WeakMap<Dllm, Schemas>();

function schemasOf(dllm: Dllm): Schemas {
  const known = schemas.get(dllm);
  if (known !== undefined) return known;
  const length = dllm.fixedLength ?? Math.min(28, dllm.maxLength);
  const defaults = { length, hints: dllm.usualHints, ...dllm.defaults };
  const own = Object.entries(defaults).map(([name, value]) => {
    const schema: z.ZodType = invertSchema.shape[name as keyof typeof defaults];
    return [name, schema.default(value)];
  });
  const shape = Object.fromEntries(own) as Partial<typeof invertSchema.shape>;
  const made = {
    ofImage: invertSchema.extend(shape) as typeof invertSchema,
    ofCall: invertAllSchema.extend(shape) as typeof invertAllSchema,
  };
  schemas.set(dllm, made);
  return made;
}

/**
 * Validates `options` for a model: what is given comes before the model's own defaults, and these before the package's.
 * Throws `INVALID_OPTION`, `TEMPLATE_INVALID` or `IDENTICAL_PARTICLES`.
 */
export function resolveOptions(options: InvertOptions, dllm: Dllm): ResolvedOptions {
  return resolved(validate(schemasOf(dllm).ofImage, options, 'options of invert'), options, dllm);
}

/**
 * Validates the options of a call over many images, as {@link resolveOptions} does, with those that are of the whole call: the
 * most rows of a forward, and whether results come in order. Throws `BATCH_TOO_LARGE` too.
 */
export function resolveCallOptions(
  given: InvertAllOptions | AsFinishedOptions,
  dllm: Dllm,
): { options: ResolvedOptions; rows: number; ordered: boolean } {
  const { maxBatch, ordered, ...parsed } = validate(schemasOf(dllm).ofCall, given, 'options of invertAll');
  const options = resolved(parsed, given, dllm);
  return { options, rows: rowsOfForward(maxBatch, options.particles, dllm), ordered };
}

/** What `parsed`, which has every default filled in, comes to for a model; `options` are those that were given. */
function resolved(parsed: z.output<typeof invertSchema>, options: InvertOptions, dllm: Dllm): ResolvedOptions {
  if (options.template !== undefined && options.length !== undefined) {
    fail('length: cannot be given with template, which has a length of its own');
  }
  checkInstruction(parsed, dllm);
  const { maxLength, fixedLength } = dllm.lengthsWith(parsed.instruction);
  const template =
    parsed.template === undefined ? undefined : parseTemplate(parsed.template, dllm.tokenizer, maxLength);
  // A length that nobody gave fits itself to an instruction.
  const length = template?.length ?? options.length ?? fixedLength ?? Math.min(parsed.length, maxLength);
  if (length > maxLength) {
    const beside = parsed.instruction === undefined ? '' : ' beside the instruction';
    fail(`length: ${length} is over the model's limit of ${maxLength} positions${beside}`);
  }
  const { device, maxPositions } = dllm.engine;
  if (length > maxPositions) fail(`length: ${length} is over the ${maxPositions} positions that ${device} takes`);
  if (fixedLength !== undefined && length !== fixedLength) {
    fail(`length: ${length} is not ${fixedLength}, the only one the model takes`);
  }
  // A minLength and a blockLength that nobody gave fit themselves to the length.
  const minLength = options.minLength ?? Math.min(parsed.minLength ?? 4, length);
  const blockLength = options.blockLength ?? ownBlockLength(parsed.blockLength ?? length, length, dllm);
  if (minLength > length) fail(`minLength: ${minLength} is over length, ${length}`);
  const blocks = blocksOf(length, blockLength, parsed.steps, dllm);
  checkParticlesDiffer(parsed);
  const words = parsed.banned.filter((entry) => typeof entry === 'string');
  const pinned = template?.pinned ?? new Int32Array(length).fill(-1);
  const fitted = { ...parsed, length, minLength, blockLength };
  const all = {
    ...fitted,
    key: sharingKey(fitted),
    blocks,
    pinned,
    suppressed: suppressedBy(parsed.banned, dllm),
    restrictions: restrictionsOf(dllm, pinned, minLength, template ?? { afterSpace: [] }),
    bans: words.length > 0 ? new BanList(words, dllm) : undefined,
  };
  checkFixedText(all, dllm);
  return all;
}

function checkInstruction({ instruction, hints }: z.output<typeof invertSchema>, dllm: Dllm): void {
  const place = `the dLLM's template has no place for`;
  if (instruction !== undefined && !dllm.takesInstruction) {
    fail(`instruction: ${place} one (instruction of its ${manifestName}): leave it out`);
  }
  if (hints === 0 || dllm.takesHints) return;
  if (dllm.fixedLength === undefined) fail(`hints: ${place} them (instruction.hints of its ${manifestName}): give 0`);
  fail('hints: they are of any length, and the graph of the dLLM fixes its positions: give 0');
}

/** Blocks that are counted from the row's first position keep their length, whatever the prompt has of them. */
function ownBlockLength(blockLength: number, length: number, { blockGrid }: Dllm): number {
  return blockGrid === 'row' ? blockLength : Math.min(blockLength, length);
}

function blocksOf(length: number, blockLength: number, steps: number, { blockGrid }: Dllm): number {
  if (blockGrid === 'row') {
    // How many there are depends on what stands before the prompt, which may differ from image to image.
    const most = 1 + Math.ceil((length - 1) / blockLength);
    if (steps >= most) return most;
    fail(`steps: ${steps} is under the ${most} blocks of ${blockLength} that ${length} positions may have`);
  }
  if (blockLength > length) fail(`blockLength: ${blockLength} is over length, ${length}`);
  const blocks = Math.ceil(length / blockLength);
  if (steps % blocks !== 0) {
    fail(`steps: ${steps} is no multiple of ${blocks}, the blocks of ${blockLength} in ${length} positions`);
  }
  return blocks;
}

function checkParticlesDiffer({ order, temperature, topK, particles }: z.output<typeof invertSchema>): void {
  if (particles === 1 || order === 'random' || (temperature !== 0 && topK !== 1)) return;
  const what = temperature === 0 ? 'temperature 0' : 'topK 1';
  throw new FkinvError(
    'IDENTICAL_PARTICLES',
    `options of invert: ${what} with order ${order} makes all ${particles} particles equal: ` +
      'use order random, a temperature above 0, or one particle',
  );
}

function suppressedBy(banned: (string | number)[], dllm: Dllm): Int32Array {
  const ids = banned.filter((entry) => typeof entry === 'number');
  const unknown = ids.find((id) => id >= dllm.vocab);
  if (unknown !== undefined) fail(`banned: ${unknown} is no token id: the model has ${dllm.vocab}`);
  return Int32Array.from(new Set([...dllm.suppressed, ...ids]));
}

/**
 * Tokens that some positions may not hold: stops where the prompt must not end, tokens without a space where a word must begin.
 */
function restrictionsOf(
  dllm: Dllm,
  pinned: Int32Array,
  minLength: number,
  { afterSpace }: Pick<Template, 'afterSpace'>,
): NativeRestriction[] {
  const end = Math.max(
    minLength,
    pinned.findLastIndex((id) => id >= 0),
    ...afterSpace,
  );
  const stops = { ids: Int32Array.from(dllm.stops), at: Uint8Array.from(pinned, (_, n) => (n < end ? 1 : 0)) };
  if (afterSpace.length === 0) return [stops];
  const at = Uint8Array.from(pinned, (_, n) => (afterSpace.includes(n) ? 1 : 0));
  return [stops, { ids: Int32Array.from(dllm.withoutSpace), at }];
}

function checkFixedText({ pinned, suppressed, bans, template }: ResolvedOptions, dllm: Dllm): void {
  const row = Array.from(pinned, (id) => (id < 0 ? dllm.maskId : id));
  const token = pinned.find((id) => id >= 0 && (suppressed.includes(id) || dllm.stops.includes(id)));
  if (token === undefined && bans?.violates(row) !== true) return;
  const what = token === undefined ? 'a banned word' : `token ${token}, which is banned or ends a prompt`;
  throw new FkinvError('TEMPLATE_INVALID', `template: the fixed text of "${template ?? ''}" has ${what}`);
}

/**
 * Rows that one forward may have. Throws `BATCH_TOO_LARGE` when the particles of an image are more, or `maxBatch` is over
 * what the model takes.
 */
export function rowsOfForward(maxBatch: number | undefined, particles: number, dllm: Dllm): number {
  const limit = dllm.maxBatch ?? Infinity;
  const rows = maxBatch ?? Math.min(limit, Math.max(defaultRows, particles));
  if (rows > limit) {
    throw new FkinvError(
      'BATCH_TOO_LARGE',
      `maxBatch: ${rows} is over the ${limit} rows that a forward of the model may have (maxBatch of its fkinv.json)`,
    );
  }
  if (particles > rows) {
    const whose =
      maxBatch === undefined ? 'a forward of the model may have (maxBatch of its fkinv.json)' : 'maxBatch allows';
    throw new FkinvError(
      'BATCH_TOO_LARGE',
      `particles: the ${particles} of an image share a forward, and are over the ${rows} rows that ${whose}`,
    );
  }
  return rows;
}

function sharingKey(options: z.output<typeof invertSchema>): string {
  const own = ['seed', 'signal', 'onStep'];
  const keys = Object.keys(invertSchema.shape).filter((key) => !own.includes(key));
  return JSON.stringify(options, keys);
}
