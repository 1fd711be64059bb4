import type { z } from 'zod';
import { BanList } from './banned';
import type { Dllm } from '../models/dllm';
import { FkinvError } from '../errors';
import type { NativeRestriction } from '../native/addon';
import { invertSchema, type InvertOptions } from '../options';
import { parseTemplate, type Template } from './template';
import { validate } from '../util/validate';

/** Rows of a forward where nothing else is said. */
const defaultRows = 64;

/** {@link InvertOptions} with every default filled in, and what they come to for a model. */
export type ResolvedOptions = z.output<typeof invertSchema> & {
  minLength: number;
  blockLength: number;
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

/** `options` without the keys that are undefined. */
export function given<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/**
 * Validates `options` for a model, whose own defaults come before the package's. Throws `INVALID_OPTION`,
 * `TEMPLATE_INVALID` or `IDENTICAL_PARTICLES`.
 */
export function resolveOptions(options: InvertOptions, dllm: Dllm): ResolvedOptions {
  validate(invertSchema, options, 'options of invert');
  if (options.template !== undefined && options.length !== undefined) {
    fail('length: cannot be given with template, which has a length of its own');
  }
  const defaults = { length: dllm.fixedLength ?? Math.min(28, dllm.maxLength), ...dllm.defaults };
  const resolved = invertSchema.parse({ ...defaults, ...given(options) });
  const template =
    resolved.template === undefined ? undefined : parseTemplate(resolved.template, dllm.tokenizer, dllm.maxLength);
  const length = template?.length ?? resolved.length;
  if (length > dllm.maxLength) fail(`length: ${length} is over the model's limit of ${dllm.maxLength} positions`);
  const { device, maxPositions } = dllm.engine;
  if (length > maxPositions) fail(`length: ${length} is over the ${maxPositions} positions that ${device} takes`);
  if (dllm.fixedLength !== undefined && length !== dllm.fixedLength) {
    fail(`length: ${length} is not ${dllm.fixedLength}, the only one the model takes`);
  }
  // Those that nobody gave fit themselves to the length.
  const minLength = options.minLength ?? Math.min(resolved.minLength ?? 4, length);
  const blockLength = options.blockLength ?? Math.min(resolved.blockLength ?? length, length);
  if (minLength > length) fail(`minLength: ${minLength} is over length, ${length}`);
  checkBlocks(length, blockLength, resolved.steps);
  checkParticlesDiffer(resolved);
  const words = resolved.banned.filter((entry) => typeof entry === 'string');
  const pinned = template?.pinned ?? new Int32Array(length).fill(-1);
  const all = {
    ...resolved,
    length,
    minLength,
    blockLength,
    pinned,
    suppressed: suppressedBy(resolved.banned, dllm),
    restrictions: restrictionsOf(dllm, pinned, minLength, template ?? { afterSpace: [] }),
    bans: words.length > 0 ? new BanList(words, dllm) : undefined,
  };
  checkFixedText(all, dllm);
  return all;
}

function checkBlocks(length: number, blockLength: number, steps: number): void {
  if (blockLength > length) fail(`blockLength: ${blockLength} is over length, ${length}`);
  const blocks = Math.ceil(length / blockLength);
  if (steps % blocks !== 0) {
    fail(`steps: ${steps} is no multiple of ${blocks}, the blocks of ${blockLength} in ${length} positions`);
  }
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

/** Where the prompt must not end, and where a word must begin. */
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

/** What images must have in common to share forwards: all options but the seed. */
export function sharingKey(options: ResolvedOptions): string {
  const own = ['seed', 'signal', 'onStep'];
  const keys = Object.keys(invertSchema.shape).filter((key) => !own.includes(key));
  return JSON.stringify(options, keys);
}
