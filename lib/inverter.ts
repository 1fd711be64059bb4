import { availableParallelism } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { Clip } from './clip';
import { Dllm } from './dllm';
import { FkinvError } from './errors';
import type { ImageInput } from './image';
import type { Inversion } from './inversion';
import { ModelFolder } from './model-folder';
import { native } from './native';
import { findOnnxRuntime } from './onnxruntime';
import { resolveOptions, type InvertOptions, type ResolvedOptions } from './options';
import { sample, type Models } from './sampler';
import { Stopwatch } from './stopwatch';
import { integer, pathOf, validate } from './validate';

/** Options of {@link Inverter.load}. */
export interface LoadOptions {
  /** Folder of the discrete diffusion language model, a path or `file:` URL; default the embedded demo model. */
  dllm?: string | URL;
  /** Folder of the CLIP that guides, a path or `file:` URL; default the embedded demo model. */
  clip?: string | URL;
  /** Threads of the engine, 1 to 256; default what the machine offers, at most 8. Results do not depend on it. */
  threads?: number;
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
});

/**
 * Turns images into edit-friendly prompts. It holds the models and one engine thread: load it once, call {@link invert}
 * as often and as concurrently as you like, dispose of it at the end.
 */
export class Inverter {
  readonly #models: Models;
  #disposal: Promise<void> | undefined;

  private constructor(models: Models) {
    this.#models = models;
  }

  /**
   * Loads the models onto an engine of their own.
   * @throws FkinvError `INVALID_OPTION`, `MODEL_*`, `TOKENIZER_MISMATCH`, `ORT_NOT_FOUND` or `ORT_VERSION`
   */
  static async load(options: LoadOptions = {}): Promise<Inverter> {
    const { dllm, clip, threads } = validate(loadSchema, options, 'options of load');
    const engine = new native.Engine(findOnnxRuntime(), threads);
    try {
      const loadedClip = await Clip.load(engine, clip);
      return new Inverter({ engine, clip: loadedClip, dllm: await Dllm.load(engine, dllm, loadedClip) });
    } catch (error) {
      await engine.dispose();
      throw error;
    }
  }

  /**
   * Recovers a prompt of `image`.
   * @throws FkinvError `INVALID_OPTION`, `IMAGE_*`, `INVALID_PIXELS`, `ABORTED`, `DISPOSED`, or what a broken model gives
   *   (`MODEL_RUN`, `INVALID_LOGITS`, `INVALID_EMBEDDING`, `NOTHING_LEFT`, `DEGENERATE_WEIGHTS`)
   */
  async invert(image: ImageInput, options: InvertOptions = {}): Promise<Inversion> {
    this.#checkDisposed();
    const resolved = resolveOptions(options, this.#models.dllm.maxLength);
    const { signal } = resolved;
    try {
      signal?.throwIfAborted();
      return await this.#invert(image, resolved);
    } catch (error) {
      this.#checkDisposed();
      if (signal?.aborted !== true) throw error;
      throw new FkinvError('ABORTED', 'the inversion was aborted', { cause: signal.reason });
    }
  }

  async #invert(image: ImageInput, options: ResolvedOptions): Promise<Inversion> {
    const { clip } = this.#models;
    const stopwatch = new Stopwatch();
    const prepared = await stopwatch.time('decodeImage', () => clip.prepare(image));
    options.signal?.throwIfAborted();
    const embeds = await stopwatch.time('encodeImage', () => clip.encodeImage(prepared));
    options.signal?.throwIfAborted();
    const [sampled] = await sample(this.#models, embeds, [BigInt(options.seed)], options, stopwatch);
    const [best] = sampled?.particles ?? [];
    if (sampled === undefined || best === undefined) throw new FkinvError('INTERNAL', 'the sampler gave no particle');
    const { prompt, rewardClip, rewardEdit, reward, logProb, tokens } = best;
    return {
      prompt,
      rewardClip,
      rewardEdit,
      reward,
      logProb,
      tokens,
      coupling: sampled.coupling,
      particles: sampled.particles,
      trace: sampled.trace,
      seed: options.seed,
      timings: { total: stopwatch.total, stages: stopwatch.stages },
      warnings: this.#warnings(prompt),
    };
  }

  #warnings(prompt: string): string[] {
    const { clip } = this.#models;
    if (!clip.overflows(prompt)) return [];
    return [`the prompt is longer than the ${clip.maxWidth} tokens CLIP reads: its end did not count in rewardClip`];
  }

  /**
   * Frees the models. Inversions still under way reject with code `DISPOSED`; resolves when nothing runs any more. Safe to
   * call again.
   */
  dispose(): Promise<void> {
    return (this.#disposal ??= this.#dispose());
  }

  async #dispose(): Promise<void> {
    const { engine, clip, dllm } = this.#models;
    await engine.dispose();
    for (const { session } of [clip.vision, clip.text, dllm.model]) session.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #checkDisposed(): void {
    if (this.#disposal === undefined) return;
    throw new FkinvError('DISPOSED', 'the Inverter was disposed of: load another');
  }
}
