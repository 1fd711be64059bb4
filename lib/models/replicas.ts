import type { NativeEngine } from '../native/addon';
import type { Clip } from './clip';
import type { Dllm } from './dllm';

/** Models and the engine they are loaded on. */
export interface Models {
  engine: NativeEngine;
  dllm: Dllm;
  clip: Clip;
}

/** The same models on one engine or several: a replica each. */
export class Replicas {
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
