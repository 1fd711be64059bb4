import type { Models } from './sampler';

/** The models on one engine or several. Each piece of work runs on one of them: the one that has least to do. */
export class Engines {
  /** Images that each inverts now. */
  readonly #images: Map<Models, number>;

  constructor(readonly all: readonly [Models, ...Models[]]) {
    this.#images = new Map(all.map((models) => [models, 0]));
  }

  /** The devices' names: `cpu`, `cuda:0` or `cuda:0, cuda:1`. */
  get device(): string {
    return this.all.map(({ engine }) => engine.device).join(', ');
  }

  /** Does `work` on `images` images, on an engine that has fewest of them, or on the one that is given. */
  async run<T>(images: number, work: (models: Models) => Promise<T>, on = this.#freest()): Promise<T> {
    this.#add(on, images);
    try {
      return await work(on);
    } finally {
      this.#add(on, -images);
    }
  }

  /** Resolves when nothing runs any more on any of them. */
  async dispose(): Promise<void> {
    await Promise.all(this.all.map(({ engine }) => engine.dispose()));
    for (const { clip, dllm } of this.all) {
      for (const graph of [clip.vision, clip.text, dllm.model, dllm.tower?.graph]) graph?.session.dispose();
    }
  }

  #add(models: Models, images: number): void {
    this.#images.set(models, this.#imagesOf(models) + images);
  }

  #imagesOf(models: Models): number {
    return this.#images.get(models) ?? 0;
  }

  #freest(): Models {
    return this.all.reduce((freest, models) => (this.#imagesOf(models) < this.#imagesOf(freest) ? models : freest));
  }
}
