import path from 'node:path';
import nodeGypBuild from 'node-gyp-build';
import { FkinvError, messageOf } from './errors';

// The addon as it is: what binding/ registers, one to one. Everything else in lib/ is for people.

/** An input or output of a graph; dynamic axes are −1. */
export interface NativeTensorInfo {
  name: string;
  type: string;
  shape: number[];
}

/** float32 values on the engine's device. */
export interface NativeTensor {
  /** A copy on the host. For parity checks: the sampler never calls it. */
  read(): Promise<Float32Array>;
}

/** Rows of one input; `rowShape` is the graph's shape less its leading axis. */
export interface NativeInput {
  name: string;
  data: Float32Array | BigInt64Array;
  rowShape: number[];
}

/** A model graph, loaded. */
export interface NativeSession {
  readonly inputs: NativeTensorInfo[];
  readonly outputs: NativeTensorInfo[];
  /** Each row is a run of its own, so that its result does not depend on the others. */
  run(rows: number, inputs: NativeInput[], output: string, rowShape: number[]): Promise<NativeTensor>;
  dispose(): void;
}

/** An engine thread, and what is loaded on it. */
export interface NativeEngine {
  load(path: string): Promise<NativeSession>;
  /** Stops the job that runs, fails those that wait, and resolves when the thread has ended. */
  dispose(): Promise<void>;
}

/** The dLLM's graph and the names of its tensors; `condition` is empty where it takes no image. */
export interface NativeDllmGraph {
  session: NativeSession;
  ids: string;
  condition: string;
  logits: string;
  vocab: number;
}

/** CLIP's text graph and the names of its tensors; texts are at most `maxWidth` tokens wide. */
export interface NativeTextGraph {
  session: NativeSession;
  ids: string;
  embeddings: string;
  maxWidth: number;
}

export interface NativeParticleOptions {
  images: number;
  particlesPerImage: number;
  length: number;
  steps: number;
  maskId: number;
  suppressed: Int32Array;
  stops: Int32Array;
  minLength: number;
  countAll: boolean;
  temperature: number;
  lambdaClip: number;
  lambdaEdit: number;
  /** One an image. */
  seeds: BigUint64Array;
}

/** B images × K particles (`particles` = B·K, image after image) on the engine's device; `step` counts the steps done. */
export interface NativeParticles {
  /** One forward for each distinct state, and one read of its logits; resolves to the states of each image. */
  denoise(): Promise<Int32Array>;
  /** [particles, length] */
  guess(step: number): Promise<Int32Array>;
  /** `ids` [texts, width] of the distinct texts, `textOf` [particles]; `clip`, `edit` [particles] */
  reward(ids: BigInt64Array, texts: number, textOf: Int32Array): Promise<{ clip: Float64Array; edit: Float64Array }>;
  /** `logWeights` [particles], `ess` [images] */
  weigh(): Promise<{ logWeights: Float64Array; ess: Float64Array }>;
  /** Ancestors [particles], slots within the image. */
  resample(step: number): Promise<Int32Array>;
  propose(step: number): Promise<void>;
  /** `tokens` [particles, length], `logProb` [particles] */
  finish(): Promise<{
    tokens: Int32Array;
    logProb: Float64Array;
    stages: { name: string; ms: number; calls: number }[];
  }>;
  /** `gram` [length, length] and `counted` [length] of one particle. */
  similarity(
    particle: number,
  ): Promise<{ gram: Float32Array; counted: Uint8Array; mean: number; variance: number; reward: number }>;
  /** Stops the job that runs now, and fails all later ones with "ABORTED". */
  cancel(): void;
  /** Frees the memory once no job uses it. */
  release(): void;
}

export interface NativeAddon {
  setErrorClass(errorClass: typeof FkinvError): void;
  /** Stops every engine of this thread and waits for them; for the process's exit. */
  stopEngines(): void;
  Engine: new (libonnxruntime: string, threads: number) => NativeEngine;
  Particles: new (
    engine: NativeEngine,
    dllm: NativeDllmGraph,
    text: NativeTextGraph,
    imageEmbeds: NativeTensor,
    embedSize: number,
    options: NativeParticleOptions,
  ) => NativeParticles;
  coupling(
    logits: Float32Array,
    positions: number,
    vocab: number,
    counted: Uint8Array,
  ): {
    gram: Float32Array[];
    mean: number[];
    variance: number[];
    reward: number[];
    entropy: Float32Array[];
    rowMax: Float32Array[];
  };
  draw(logits: Float32Array, vocab: number, temperature: number, u: Float64Array, uInside: Float64Array): Int32Array;
  resample(logWeights: Float64Array, scheme: number, u: Float64Array): { ancestors: Int32Array; ess: number };
  philox(counter: Uint32Array, key: Uint32Array): Uint32Array;
}

function load(): NativeAddon {
  try {
    const addon = nodeGypBuild(path.join(__dirname, '..')) as NativeAddon;
    addon.setErrorClass(FkinvError);
    process.on('exit', () => addon.stopEngines());
    return addon;
  } catch (cause) {
    throw new FkinvError(
      'ADDON_NOT_FOUND',
      `the native addon could not be loaded on ${process.platform}-${process.arch} (${messageOf(cause)}): ` +
        'run npm rebuild fkinv-native, with CMake and a C++20 compiler installed',
      { cause },
    );
  }
}

export const native = load();
