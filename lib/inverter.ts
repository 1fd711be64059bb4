/// <reference lib="esnext.disposable" preserve="true" />
import path from 'node:path';
import { z } from 'zod';
import { Clip } from './models/clip';
import { Dllm } from './models/dllm';
import { createEngines } from './native/create-engines';
import { Replicas } from './models/replicas';
import { FkinvError, messageOf } from './errors';
import { Hints } from './hints/hints';
import { readWords } from './hints/words';
import { PictureMemory } from './images/budget';
import type { ImageInput } from './images/image';
import type { Finished, Inversion } from './inversion';
import { manifestName } from './models/manifest';
import type { ModelFolder } from './models/model-folder';
import { parseModelName, type FolderName, type HubName } from './models/model-name';
import type { NativeEngine } from './native/addon';
import { invertAll, picturesOf, type ImageItems } from './scheduling/invert-all';
import {
  deviceSchema,
  maxPixelBytesSchema,
  threadsSchema,
  type AsFinishedOptions,
  type Device,
  type InvertAllOptions,
  type InvertOptions,
} from './options';
import { Listener } from './sampling/listener';
import { resolveCallOptions, resolveOptions, rowsOfForward, type ResolvedOptions } from './sampling/resolved-options';
import { embeddedFolder, openModel } from './store/open';
import { profileOf, type Profile } from './profiling/profile';
import { Recording } from './profiling/recording';
import type { Models } from './models/replicas';
import { Call, Scheduler } from './scheduling/scheduler';
import { usableMemory, usableProcessors } from './util/cgroup';
import { integer, pathOf, validate } from './util/validate';

/** Options of {@link Inverter.load}. */
export interface LoadOptions {
  /**
   * The discrete diffusion language model: its folder, a path or `file:` URL, or a repository of the Hugging Face Hub,
   * `hf:org/name[:variant][@revision]`, that was fetched by {@link pull}; default the embedded demo model.
   */
  dllm?: string | URL;
  /** The CLIP that guides, named in the same way; default the embedded demo model. */
  clip?: string | URL;
  /** Whether models of the Hugging Face Hub that are not on this machine are fetched, as {@link pull} does it. Default false. */
  download?: boolean;
  /**
   * The words that hints are chosen from, as a list or in a file, a path or `file:` URL: a word a line, and behind a tab its kind. 1 to
   * 50,000, each of 1 to 100 characters. Default the package's own 5,000.
   */
  hintWords?: string | URL | readonly string[];
  /**
   * Threads of the engine, 1 to 256; default the processors that the process may use, quotas of control groups included, at most
   * 8. Results do not depend on it. A GPU is driven by one thread, whatever this says.
   */
  threads?: number;
  /**
   * What the engine runs on: `cpu`, `cuda` (every GPU that can be used), `cuda:1` and so on (that one), or `auto`, the default:
   * as `cuda` where there is a GPU that can be used, else the CPU.
   */
  device?: Device;
  /**
   * Whether a GPU runs the dLLM by CUDA graphs: captured once for each length of its rows, at most 16, and replayed with one
   * launch for the whole model. A model some of whose nodes do not run on the GPU is refused with `MODEL_INVALID`. On the CPU it
   * has no effect. Default false.
   */
  cudaGraphs?: boolean;
  /**
   * Whether ONNX Runtime makes a copy of the weights as its kernels read them. Without one, weights that a model has in a file beside
   * its graph are mapped from there, so that processes share them and loading is quick, but runs are slower. Results may differ in
   * their last bits. Default true.
   */
  prepacking?: boolean;
  /** Calls of `invert` that may wait for their turn: one more is refused with `QUEUE_FULL`. 1 to 1000000; default 1000. */
  maxQueue?: number;
  /**
   * Bytes that decoded pictures may take at a time, with what their decoder holds: others wait to be decoded, and one that takes
   * more is decoded alone. Files that are being read may take a quarter as much beside it. 1 to 2⁴⁰; default 512 MiB, or an
   * eighth of the memory, limits of control groups included, if that is less. Results do not depend on it.
   */
  maxPixelBytes?: number;
  /**
   * Called with one line where there is a GPU and `auto` cannot use it, where a graph is taken that nobody named, such as a folder's
   * `model_fp16.onnx`, where the words of hints take over two seconds to embed, or where memory ran out and fewer particles are in
   * flight from there on: why, and what to do. Default `process.emitWarning`.
   */
  onWarning?: (message: string) => void;
}

const file = z.unknown().transform((given, context) => {
  const at = pathOf(given);
  if (at !== undefined && at !== '') return path.resolve(at);
  context.addIssue('must be a path or a file: URL');
  return z.NEVER;
});
const model = z.unknown().transform((given, context): HubName | FolderName => {
  const at = pathOf(given);
  try {
    if (at !== undefined && at !== '') return given instanceof URL ? { kind: 'folder', path: at } : parseModelName(at);
    context.addIssue('must be a path, a file: URL or a name such as hf:org/name');
  } catch (error) {
    context.addIssue(messageOf(error));
  }
  return z.NEVER;
});
const loadSchema = z.strictObject({
  dllm: model.prefault(embeddedFolder('dllm')),
  clip: model.prefault(embeddedFolder('clip')),
  download: z.boolean({ error: 'must be true or false' }).default(false),
  hintWords: z
    .union([z.array(z.string()), file], { error: 'must be a path, a file: URL or a list of words' })
    .optional(),
  threads: threadsSchema.default(() => Math.min(usableProcessors(), 8)),
  device: deviceSchema.default('auto'),
  cudaGraphs: z.boolean({ error: 'must be true or false' }).default(false),
  prepacking: z.boolean({ error: 'must be true or false' }).default(true),
  maxQueue: integer(1, 1_000_000).default(1000),
  maxPixelBytes: maxPixelBytesSchema.default(() => Math.min(2 ** 29, Math.floor(usableMemory() / 8))),
  onWarning: z
    .custom<(message: string) => void>((f) => typeof f === 'function', 'must be a function')
    .default(() => (message: string) => process.emitWarning(message, 'FkinvWarning')),
});

/**
 * Turns images into edit-friendly prompts. It holds the models and one engine thread, or both for each GPU: load it once,
 * call {@link invert} as often and as concurrently as you like, dispose of it at the end.
 */
export class Inverter {
  readonly #engines: Replicas;
  readonly #scheduler: Scheduler;
  readonly #maxQueue: number;
  #disposal: Promise<void> | undefined;
  /** Aborted by {@link dispose}, to end what waits for anything but the engine. */
  readonly #end = new AbortController();

  private constructor(
    engines: Replicas,
    hints: Hints,
    limits: Pick<z.output<typeof loadSchema>, 'maxQueue' | 'maxPixelBytes' | 'onWarning'>,
  ) {
    // A program without types can call the constructor.
    if (!((engines as unknown) instanceof Replicas)) {
      throw new FkinvError('INVALID_OPTION', 'new Inverter: use await Inverter.load() instead');
    }
    this.#engines = engines;
    this.#scheduler = new Scheduler(engines, new PictureMemory(limits.maxPixelBytes), hints, limits.onWarning);
    this.#maxQueue = limits.maxQueue;
  }

  /**
   * Loads the models onto an engine of their own, or onto one for each GPU: all of the models go onto each.
   * @param options - The models, the engine's device and threads; default the embedded demo models.
   * @returns The Inverter, ready to use; dispose of it when it is no longer needed.
   * @throws FkinvError `INVALID_OPTION`, `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_INTERFACE`, `TOKENIZER_MISMATCH`,
   *   `PAIR_MISMATCH`, `ORT_NOT_FOUND`, `ORT_VERSION`, `OUT_OF_MEMORY`, `CUDA_UNAVAILABLE` or `CUDA_FAILED`; with `download` what {@link pull}
   *   throws
   */
  static async load(options: LoadOptions = {}): Promise<Inverter> {
    const { threads, device, cudaGraphs, prepacking, ...given } = validate(loadSchema, options, 'options of load');
    const { dllm: dllmName, clip: clipName, download, hintWords, ...limits } = given;
    const hints = new Hints(await readWords(hintWords), limits.onWarning);
    const opening = { prepacking, warn: limits.onWarning, device, download };
    const dllm = await openModel(dllmName, opening);
    const clip = await openModel(clipName, opening);
    const [engine, ...others] = createEngines({ threads, device, warn: limits.onWarning });
    const load = (on: NativeEngine): Promise<Models> => loadOnto(on, dllm, clip, cudaGraphs);
    try {
      const [first, ...rest] = await Promise.all([load(engine), ...others.map(load)]);
      checkDefaults(first.dllm, dllm);
      return new Inverter(new Replicas([first, ...rest]), hints, limits);
    } catch (error) {
      await Promise.all([engine, ...others].map((each) => each.dispose()));
      throw error;
    }
  }

  /** The device that it runs on: `cpu`, a GPU as `cuda:0`, or several as `cuda:0, cuda:1`. */
  get device(): string {
    return this.#engines.device;
  }

  /**
   * Recovers a prompt of `image`, or of several images as one reference: CLIP's embeddings of them are averaged (a
   * dLLM with a vision graph of its own takes one image only). Calls at the same time share forwards where their options are
   * equal but for the seed, and take turns.
   * @param image - An image, or a list of at least one.
   * @param options - Every option has a default, and a range that is checked before anything runs.
   * @returns The prompt with its rewards, all particles, the similarity and the trace.
   * @throws FkinvError `INVALID_OPTION`, `TEMPLATE_INVALID`, `IDENTICAL_PARTICLES`, `BATCH_TOO_LARGE`, `IMAGE_NOT_FOUND`,
   *   `IMAGE_INVALID`, `IMAGE_TOO_LARGE`, `INVALID_PIXELS`, `NOTHING_LEFT` (too much is banned), `QUEUE_FULL` (`maxQueue` of
   *   {@link load}), `ABORTED`, `DISPOSED`, `OUT_OF_MEMORY`, or what a broken model gives (`MODEL_RUN`, `MODEL_INVALID`,
   *   `INVALID_LOGITS`, `INVALID_EMBEDDING`, `DEGENERATE_WEIGHTS`)
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
    const [{ dllm }] = this.#engines.all;
    const resolved = resolveOptions(options, dllm);
    const { seed, signal, onStep } = resolved;
    const rows = rowsOfForward(undefined, resolved.particles, dllm);
    const listener = new Listener(onStep && ((step) => onStep(step, 0)));
    const pictures = picturesOf(image);
    const call = new Call(this.#scheduler, {
      rows,
      maxQueue: this.#maxQueue,
      ...(signal !== undefined && { signal }),
      ...(recording !== undefined && { recording }),
    });
    try {
      const result = await this.#guard(signal, () => call.invert({ pictures, seed, options: resolved, listener }));
      if (result instanceof FkinvError) throw result;
      return result;
    } finally {
      call.close();
    }
  }

  /**
   * Does what {@link invert} does, on the first of several GPUs, and records where its time goes: each kernel, each run of a
   * model, the work on text and images, the steps. Then it measures for half a second what the machine can do, in 256 MiB of
   * memory, or in 1 GiB of a GPU's own. Other calls that run at the same time are not recorded, and are no slower for it; what
   * they take of the machine is in the times all the same.
   * @param image - An image, or a list of at least one.
   * @param options - The same options as {@link invert} has.
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
      this.#checkDisposed(); // nothing stops the measuring, but its result may be wanted no longer
      signal?.throwIfAborted();
      return [taken, measured];
    });
    return profileOf(recording, spans, total, inversion, { device: engine.device, limits });
  }

  /**
   * Recovers a prompt of each of `images`, several in flight together: their particles share every forward. Results come in the
   * images' order, or with `ordered: false` as they finish, each with its image's place; an image that fails gives its error. An
   * image may be given with options of its own, `{ image, seed, … }`; those of equal options but for the seed share forwards,
   * with those of other calls too. An image that is done makes room for the next. Images are read ahead of the results that were
   * given, at most three times as many as can be in flight (twice with `ordered: false`). Stopping early closes the source, and
   * nothing goes on.
   * @param images - Any iterable or async iterable of images, of lists of images (one reference each) and of images with options.
   * @param options - Options of every image; those that an image has itself come before them.
   * @returns The results, an {@link Inversion} or an {@link FkinvError} an image; as they finish, a {@link Finished} each.
   * @throws FkinvError for the options of the call as {@link invert} does, at once; `INPUT_FAILED` when the iterable
   *   throws, once the images before it are done; `ABORTED` and `DISPOSED`, which end the iteration once the results that
   *   are done were given
   */
  invertAll(images: ImageItems, options: AsFinishedOptions): AsyncGenerator<Finished, void, undefined>;
  /** Recovers a prompt of each of `images`, with results in the images' order. */
  invertAll(images: ImageItems, options?: InvertAllOptions): AsyncGenerator<Inversion | FkinvError, void, undefined>;
  invertAll(
    images: ImageItems,
    options: InvertAllOptions | AsFinishedOptions = {},
  ): AsyncGenerator<Finished | Inversion | FkinvError, void, undefined> {
    this.#checkDisposed();
    const { all } = this.#engines;
    const [{ dllm }] = all;
    const resolved = resolveCallOptions(options, dllm);
    const { ordered } = resolved;
    const { signal } = resolved.options;
    const ended = AbortSignal.any(signal === undefined ? [this.#end.signal] : [signal, this.#end.signal]);
    const call = { ...resolved, given: { ...options }, dllm, engines: all.length, signal: ended };
    const results = invertAll(this.#scheduler, images, call);
    return this.#guardEach(results, ({ index, result }) => (ordered ? result : { index, result }), signal);
  }

  async *#guardEach<T, U>(
    results: AsyncGenerator<T, void, undefined>,
    shown: (result: T) => U,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<U, void, undefined> {
    try {
      for await (const result of results) yield shown(result);
    } catch (error) {
      throw this.#reasonOf(error, signal);
    }
  }

  /** Runs `work`; where it fails after a disposal or an abort, the error is that, whatever `work` failed with. */
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

  /** @internal Images of default options that can be in flight at a time, on all engines together. */
  get inFlight(): number {
    const { particles } = this.resolve({});
    const { all } = this.#engines;
    return all.length * Math.floor(rowsOfForward(undefined, particles, all[0].dllm) / particles);
  }

  /** @internal Options of a call with every default filled in, and what they come to for the dLLM. Throws as {@link invertAll}. */
  resolve({ maxBatch, ...options }: InvertOptions & Pick<InvertAllOptions, 'maxBatch'>): ResolvedOptions {
    const [{ dllm }] = this.#engines.all;
    const resolved = resolveOptions(options, dllm);
    rowsOfForward(maxBatch, resolved.particles, dllm);
    return resolved;
  }

  /**
   * Frees the models. Inversions still under way reject with code `DISPOSED`; resolves when nothing runs any more. Safe to
   * call again.
   */
  dispose(): Promise<void> {
    if (this.#disposal !== undefined) return this.#disposal;
    this.#disposal = this.#engines.dispose();
    this.#scheduler.end(disposed());
    this.#end.abort();
    return this.#disposal;
  }

  /** Calls {@link dispose}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #checkDisposed(): void {
    if (this.#disposal !== undefined) throw disposed();
  }
}

async function loadOnto(
  engine: NativeEngine,
  dllm: ModelFolder,
  clip: ModelFolder,
  cudaGraphs: boolean,
): Promise<Models> {
  const loadedClip = await Clip.load(engine, clip);
  return { engine, clip: loadedClip, dllm: await Dllm.load(engine, dllm, loadedClip, cudaGraphs) };
}

/** @internal Throws `MODEL_INVALID` where defaults of a manifest never work together: that is its fault, and no caller's. */
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
