import type { Models } from './sampler';

/** The models on one engine or several. */
export class Engines {
  constructor(readonly all: readonly [Models, ...Models[]]) {}

  /** The devices' names: `cpu`, `cuda:0` or `cuda:0, cuda:1`. */
  get device(): string {
    return this.all.map(({ engine }) => engine.device).join(', ');
  }

  /** Resolves when nothing runs any more on any of them. */
  async dispose(): Promise<void> {
    await Promise.all(this.all.map(({ engine }) => engine.dispose()));
    for (const { clip, dllm } of this.all) {
      for (const graph of [clip.vision, clip.text, dllm.model, dllm.tower?.graph]) graph?.session.dispose();
    }
  }
}
