/// <reference lib="esnext.disposable" preserve="true" />
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { Clip } from './clip';
import { Dllm } from './dllm';
import { createEngines } from './engine';
import { Engines } from './engines';
import { FkinvError, messageOf } from './errors';
import type { ImageInput } from './image';
import type { Inversion } from './inversion';
import { manifestName } from './manifest';
import { ModelFolder } from './model-folder';
import type { NativeEngine } from './native';
import { invertAll, picturesOf, type ImageItems } from './invert-all';
import { deviceSchema, invertAllSchema, type Device, type InvertAllOptions, type InvertOptions } from './options';
import { resolveOptions, rowsOfForward } from './resolved-options';
import { profileOf, type Profile } from './profile';
import { Recording } from './recording';
import type { Models } from './sampler';
import { invertTogether } from './together';
import { integer, pathOf, validate } from './validate';

/** Options of {@link Inverter.load}. */
export interface LoadOptions {
  /** Folder of the discrete diffusion language model, a path or `file:` URL; default the embedded demo model. */
  dllm?: string | URL;
  /** Folder of the CLIP that guides, a path or `file:` URL; default the embedded demo model. */
  clip?: string | URL;
  /** Threads of the engine, 1 to 256; default what the machine offers, at most 8. Results do not depend on it. A GPU is driven by one. */
  threads?: number;
  /** `cpu`, `cuda` (every GPU that can be used), `cuda:1` and so on (that one), or `auto`, the default: as `cuda` where there is a GPU that can be used, else the CPU. */
  device?: Device;
  /** Called with one line where there is a GPU and `auto` cannot use it: why, and what to do. Default `process.emitWarning`. */
  onWarning?: (message: string) => void;
}

const folder = z.unknown().transform((given, context) => {
  const at = pathOf(given);
  if (at !== undefined && at !== '') return new ModelFolder(path.resolve(at));
  context.addIssue('must be a path or a file: URL');
  return z.NEVER;
});
const embedded = path.join(__dirname, '..', 'models');
const loadSchema = z.strictObject({
  dllm: folder.prefault(path.join(embedded, 'dllm')),
  clip: folder.prefault(path.join(embedded, 'clip')),
  threads: integer(1, 256).default(() => Math.min(availableParallelism(), 8)),
  device: deviceSchema.default('auto'),
  onWarning: z
    .custom<(message: string) => void>((f) => typeof f === 'function', 'must be a function')
    .default(() => (message: string) => process.emitWarning(message, 'FkinvWarning')),
});

/**
 * Turns images into edit-friendly prompts. It holds the models and one engine thread, or both for each GPU: load it once,
 * call {@link invert} as often and as concurrently as you like, dispose of it at the end.
 */
export class Inverter {
  readonly #engines: Engines;
  #disposal: Promise<void> | undefined;
  /** Ends what waits for something else than the engine. */
  readonly #end = new AbortController();

  private constructor(engines: Engines) {
    // A program without types can call it.
    if (!((engines as unknown) instanceof Engines)) {
      throw new FkinvError('INVALID_OPTION', 'new Inverter: use await Inverter.load() instead');
    }
    this.#engines = engines;
  }

  /**
   * Loads the models onto an engine of their own, or onto one for each GPU: all of the models go onto each.
   * @param options - The models' folders, the engine's device and threads; default the embedded demo models.
   * @returns The Inverter, ready to use; dispose of it when it is no longer needed.
   * @throws FkinvError `INVALID_OPTION`, `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_INTERFACE`, `TOKENIZER_MISMATCH`,
   *   `ORT_NOT_FOUND`, `ORT_VERSION`, `OUT_OF_MEMORY`, `CUDA_UNAVAILABLE` or `CUDA_FAILED`
   */
  static async load(options: LoadOptions = {}): Promise<Inverter> {
    const { dllm, clip, threads, device, onWarning } = validate(loadSchema, options, 'options of load');
    const [engine, ...others] = createEngines({ threads, device, warn: onWarning });
    const load = (on: NativeEngine): Promise<Models> => loadOnto(on, dllm, clip);
    try {
      const [first, ...rest] = await Promise.all([load(engine), ...others.map(load)]);
      checkDefaults(first.dllm, dllm);
      return new Inverter(new Engines([first, ...rest]));
    } catch (error) {
      await Promise.all([engine, ...others].map((each) => each.dispose()));
      throw error;
    }
  }

  /** What it runs on: `cpu`, or a GPU as `cuda:0`, or several as `cuda:0, cuda:1`. */
  get device(): string {
    return this.#engines.device;
  }

  /**
   * Recovers a prompt of `image`, or of several images as one reference: CLIP's embeddings of them are averaged (a
   * dLLM with a vision graph of its own takes one image only).
   * @param image - An image, or a list of at least one.
   * @param options - Every option has a default, and a range that is checked before anything runs.
   * @returns The prompt with its rewards, all particles, the similarity and the trace.
   * @throws FkinvError `INVALID_OPTION`, `TEMPLATE_INVALID`, `IDENTICAL_PARTICLES`, `BATCH_TOO_LARGE`, `IMAGE_NOT_FOUND`,
   *   `IMAGE_INVALID`, `IMAGE_TOO_LARGE`, `INVALID_PIXELS`, `NOTHING_LEFT` (too much is banned), `ABORTED`, `DISPOSED`,
   *   `OUT_OF_MEMORY`, or what a broken model gives (`MODEL_RUN`, `MODEL_INVALID`, `INVALID_LOGITS`,
   *   `INVALID_EMBEDDING`, `DEGENERATE_WEIGHTS`)
   */
  async invert(image: ImageInput | readonly ImageInput[], options: InvertOptions = {}): Promise<Inversion> {
    return this.#invert(image, options);
  }

  async #invert(
    image: ImageInput | readonly ImageInput[],
    options: InvertOptions,
    recording?: Recording,
  ): Promise<Inversion> {
    this.#checkDisposed();
    const [first] = this.#engines.all;
    const { dllm } = first;
    const resolved = resolveOptions(options, dllm);
    rowsOfForward(undefined, resolved.particles, dllm);
    const job = { pictures: picturesOf(image), seed: resolved.seed, index: 0 };
    const work = (models: Models): Promise<(Inversion | FkinvError)[]> =>
      invertTogether(models, [job], resolved, recording);
    const on = recording === undefined ? undefined : first;
    const [result] = await this.#guard(resolved.signal, () => this.#engines.run(1, work, on));
    if (result instanceof FkinvError || result === undefined) throw result ?? new FkinvError('INTERNAL', 'no result');
    return result;
  }

  /**
   * Does what {@link invert} does, on the first of several GPUs, and records where its time goes: each kernel, each run of a
   * model, the work on text and images, the steps. Then it measures what the machine can do, for half a second, in 256 MiB of memory, on a GPU in 1 GiB of its own. Other calls that run at
   * the same time are not recorded, and pay nothing; what they take of the machine is in the times all the same.
   * @param image - An image, or a list of at least one.
   * @param options - As {@link invert}'s.
   * @returns The inversion, and where its time went; {@link chromeTrace} makes a file for Perfetto of it.
   * @throws FkinvError as {@link invert}
   */
  async profile(image: ImageInput | readonly ImageInput[], options: InvertOptions = {}): Promise<Profile> {
    const recording = new Recording();
    const inversion = await this.#invert(image, options, recording);
    const total = performance.now() - recording.start;
    const { signal } = options;
    const [{ engine }] = this.#engines.all;
    const [spans, limits] = await this.#guard(signal, async () => {
      const taken = await recording.takeEngineSpans(engine);
      const measured = await engine.measureLimits();
      this.#checkDisposed(); // that nothing stops it is no reason to give what is no longer wanted
      signal?.throwIfAborted();
      return [taken, measured];
    });
    return profileOf(recording, spans, total, inversion, { device: engine.device, limits });
  }

  /**
   * Recovers a prompt of each of `images`, several in flight together: their particles share every forward. Results come in
   * the images' order, and an image that fails gives its error in its place. An image may be given with options of its own,
   * `{ image, seed, … }`; those of equal options but for the seed share forwards. Images are read a batch at a time, and a
   * batch is full before any of it is inverted (`maxBatch` equal to `particles` makes it one image); stopping early closes
   * the source, and nothing goes on. Each of several GPUs inverts a batch of its own at a time; of n GPUs, at most 2n − 1
   * batches are read and not yet given.
   * @param images - Any iterable or async iterable of images, of lists of images (one reference each) and of images with options.
   * @param options - Of every image that has none of its own.
   * @returns The results, an {@link Inversion} or an {@link FkinvError} an image.
   * @throws FkinvError for the options of the call as {@link invert} does, at once; `INPUT_FAILED` when the iterable
   *   throws, once the images before it are done; `ABORTED` and `DISPOSED`, which end the iteration once the results that
   *   are done were given
   */
  invertAll(
    images: ImageItems,
    options: InvertAllOptions = {},
  ): AsyncGenerator<Inversion | FkinvError, void, undefined> {
    this.#checkDisposed();
    const { signal } = validate(invertAllSchema, options, 'options of invertAll');
    const ended = AbortSignal.any(signal === undefined ? [this.#end.signal] : [signal, this.#end.signal]);
    return this.#guardEach(invertAll(this.#engines, images, options, ended), signal);
  }

  async *#guardEach<T>(
    results: AsyncGenerator<T, void, undefined>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<T, void, undefined> {
    try {
      yield* results;
    } catch (error) {
      throw this.#reasonOf(error, signal);
    }
  }

  /** Runs `work`; whatever it fails with, a disposal or an abort is the reason if there was one. */
  async #guard<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw this.#reasonOf(error, signal);
    }
  }

  #reasonOf(error: unknown, signal: AbortSignal | undefined): unknown {
    if (this.#disposal !== undefined) return disposed();
    if (signal?.aborted !== true) return error;
    return new FkinvError('ABORTED', 'the inversion was aborted', { cause: signal.reason });
  }

  /**
   * Frees the models. Inversions still under way reject with code `DISPOSED`; resolves when nothing runs any more. Safe to
   * call again.
   */
  dispose(): Promise<void> {
    this.#disposal ??= this.#engines.dispose();
    this.#end.abort();
    return this.#disposal;
  }

  /** {@link dispose}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #checkDisposed(): void {
    if (this.#disposal !== undefined) throw disposed();
  }
}

async function loadOnto(engine: NativeEngine, dllm: ModelFolder, clip: ModelFolder): Promise<Models> {
  const loadedClip = await Clip.load(engine, clip);
  return { engine, clip: loadedClip, dllm: await Dllm.load(engine, dllm, loadedClip) };
}

/** @internal Defaults of a manifest that never work together are its fault, and no caller's. Throws `MODEL_INVALID`. */
export function checkDefaults(dllm: Dllm, folder: ModelFolder): void {
  if (Object.keys(dllm.defaults).length === 0) return;
  try {
    resolveOptions({}, dllm);
  } catch (cause) {
    throw new FkinvError('MODEL_INVALID', `${folder.file(manifestName)}: defaults: ${messageOf(cause)}`, { cause });
  }
}

function disposed(): FkinvError {
  return new FkinvError('DISPOSED', 'the Inverter was disposed of: load another');
}
