import path from 'node:path';
import { versionSync } from 'detect-libc';
import nodeGypBuild from 'node-gyp-build';
import { FkinvError, messageOf, type ErrorCode } from '../errors';
import type { CopyPurpose, LogitsType, Order, ResamplingScheme } from '../schemes';

// The addon as it is: what binding/ registers, one to one. Everything else in lib/ is for people.

/** An input or output of a graph; dynamic axes are −1. */
export interface NativeTensorInfo {
  name: string;
  type: string;
  shape: number[];
}

/** float32 values on the engine's device. */
export interface NativeTensor {
  /** Gives a copy on the host. Parity checks and hints call it: the sampler leaves values where they are. */
  read(): Promise<Float32Array>;
}

/**
 * Rows of one input; `rowShape` is the graph's shape less its leading axis. A graph that takes float16 or int32 is given the
 * values so.
 */
export interface NativeInput {
  name: string;
  data: Float32Array | BigInt64Array;
  rowShape: number[];
  /** True where each row is given the whole of it: `rowShape` is then its shape, leading axis included. */
  isShared?: boolean;
}

/** A kernel; a forward, the runs of a graph on all its rows; one of those runs; or the host's waiting for the device. */
export interface NativeSpan {
  name: string;
  kind: 'kernel' | 'forward' | 'model' | 'wait';
  /** 0 is JavaScript's, 1 the engine's own, the others are of its pool; −1 is none, but what a GPU was given, in its order. */
  thread: number;
  /** Milliseconds of the clock that {@link NativeRecorder.now} reads, as is `end`. */
  start: number;
  end: number;
  /** Bytes that it reads, each counted once; for a forward or a run these are its inputs. */
  bytes: number;
  /** float32 operations; null for a run of a graph, whose operations only ONNX Runtime knows. */
  flops: number | null;
}

/** Collects the spans of the runs and particles that it is handed to. */
export interface NativeRecorder {
  /** Milliseconds that its clock shows. */
  now(): number;
  /** All spans so far, of what ran on `engine`, in the order in which they ended; it then forgets them. */
  take(engine: NativeEngine): Promise<NativeSpan[]>;
}

/** The recorder of a run, and the name that the run's spans have for the model. */
export interface NativeRecorded {
  recorder: NativeRecorder;
  model: string;
}

/** A model graph, loaded. */
export interface NativeSession {
  readonly inputs: NativeTensorInfo[];
  readonly outputs: NativeTensorInfo[];
  /**
   * Each row is a run of its own, so that its result does not depend on the others. The output may be of 16-bit floats, which are
   * widened.
   */
  run(
    rows: number,
    inputs: NativeInput[],
    output: string,
    rowShape: number[],
    type?: 'float32',
    recorded?: NativeRecorded,
  ): Promise<NativeTensor>;
  /** Runs the rows in the same way and gives an int64 output as a copy on the host. */
  run(
    rows: number,
    inputs: NativeInput[],
    output: string,
    rowShape: number[],
    type: 'int64',
    recorded?: NativeRecorded,
  ): Promise<BigInt64Array>;
  /** Runs the rows in the same way and gives 16-bit floats, widened, on the host. Parity checks alone call it. */
  run(
    rows: number,
    inputs: NativeInput[],
    output: string,
    rowShape: number[],
    type: 'float16' | 'bfloat16',
  ): Promise<Float32Array>;
  dispose(): void;
}

/** What the machine can do at most, with all threads of an engine together. */
export interface NativeLimits {
  threads: number;
  /** float32 operations a second; a multiplication and an addition are one each. */
  flopsPerSecond: number;
  /** Bytes a second read from memory. */
  bytesPerSecond: number;
}

/** How a graph is loaded. */
export interface NativeSessionOptions {
  /** ONNX Runtime's GraphOptimizationLevel: 0 none, 1 basic, 2 extended, 99 all. */
  optimization: number;
  /** Whether a GPU captures its runs. */
  cudaGraphs: boolean;
  /** Whether ONNX Runtime makes a copy of the weights as its kernels read them. */
  prepacking: boolean;
}

/** An engine thread, and what is loaded on it. */
export interface NativeEngine {
  /** `cpu` or `cuda:0`, `cuda:1`, …; what it was made with. */
  readonly device: string;
  /** The most prompt positions that its kernels take: a GPU's have a limit, those of the processor none that matters. */
  readonly maxPositions: number;
  load(path: string, options: NativeSessionOptions): Promise<NativeSession>;
  /** Measures them now, with the engine's threads, in about half a second. */
  measureLimits(): Promise<NativeLimits>;
  /** Stops the job that runs, fails those that wait, and resolves when the thread has ended. */
  dispose(): Promise<void>;
}

/**
 * The dLLM's graph and the names of its tensors; a name is empty where the graph has no such tensor. Its rows are
 * prefix, prompt positions and suffix; the prefix is given with the particles.
 */
export interface NativeDllmGraph {
  session: NativeSession;
  /** int64 or int32 [states, width] */
  ids: string;
  /** float32 or float16 [states, …conditionShape] */
  condition: string;
  /**
   * int64, int32, float32 or float16 [states, width], all 1; or float32 or float16 [1, 1, width, width], which is added to the
   * attention's scores.
   */
  attentionMask: string;
  /** Where that is a matrix: positions of a block, which sees itself and those before it; 0 where each position sees all. */
  attentionBlock: number;
  /** int64 or int32 [states, width], 0 … width − 1. */
  positionIds: string;
  /** float32, float16, int64 or int32 [states], 0: a model without an input for the time does not need one. */
  timestep: string;
  /** int64 or int32 [length]: the rows that logits are given of, those of the prompt. Empty where it gives them of all. */
  rows: string;
  /** float32, float16 or bfloat16 [states, width, vocab], or with `rows` [states, length, vocab] */
  logits: string;
  vocab: number;
  /** 1 where row i predicts position i + 1, else 0. */
  shift: number;
  /** Ids after the prompt positions. */
  suffix: Int32Array;
  /**
   * The shape of one row of `condition` where the dLLM's own tower gives the conditions; empty where they are CLIP's embeddings
   * [E].
   */
  conditionShape: BigInt64Array;
}

/** CLIP's text graph and the names of its tensors; texts are at most `maxWidth` tokens wide. */
export interface NativeTextGraph {
  session: NativeSession;
  /** int64 or int32 [texts, width] */
  ids: string;
  /** int64 or int32 [texts, width], 1 where a text is; empty where the graph has no such input. */
  attentionMask: string;
  /** float32 or float16 [texts, E] */
  embeddings: string;
  maxWidth: number;
}

/** `ids` are suppressed at the positions [length] where `at` is not 0. */
export interface NativeRestriction {
  ids: Int32Array;
  at: Uint8Array;
}

export interface NativeParticleOptions {
  images: number;
  particlesPerImage: number;
  length: number;
  steps: number;
  guesses: number;
  maskId: number;
  /** Ids that no position may hold. */
  suppressed: Int32Array;
  restrictions: NativeRestriction[];
  stops: Int32Array;
  /** [length] the fixed token of a position, −1 where it is free. */
  pinned: Int32Array;
  /** [images, prefix] ids before the prompt positions, of equal length for every image. */
  prefixes: Int32Array;
  countAll: boolean;
  temperature: number;
  /** 0 keeps all tokens. */
  topK: number;
  /** 1 keeps all tokens. */
  topP: number;
  order: Order;
  /** Positions of the first block, at most `blockLength`. */
  firstBlock: number;
  /** Positions of every other block: `length` where there is one block. */
  blockLength: number;
  scheme: ResamplingScheme;
  essThreshold: number;
  /** What the total is summed over, in this order. The values of those that are given come with {@link NativeParticles.advance}. */
  rewards: { name: string; lambda: number; isGiven: boolean }[];
  /** [images] the seed of each image. */
  seeds: BigUint64Array;
}

/** Why one image cannot go on. The others go on without it. */
export interface NativeFailure {
  image: number;
  code: ErrorCode;
  message: string;
}

/** What is drawn again: `rows` of the guesses [guesses · particles] or of the proposal [particles], at `positions`. */
export interface NativeRedraw {
  rows: Int32Array;
  positions: Int32Array;
  /** Tokens with probability 0 of redraw i: `excluded[offsets[i]]` to `excluded[offsets[i + 1] − 1]`. */
  excluded: Int32Array;
  offsets: Int32Array;
}

/** CLIP ids of the texts of a step, one text after the other, `widths[i]` of text i, and which text each guess has. */
export interface NativeTexts {
  ids: BigInt64Array;
  /** As long as `ids`, 0 where a text is padded; empty where none is. */
  mask: BigInt64Array;
  widths: Int32Array;
  /** [guesses · particles], −1 where the image failed. */
  textOf: Int32Array;
}

/** The rewards and weights of a step, and the states that it proposes. */
export interface NativeOutcome {
  /** Values [guesses · particles] of each reward, by its name. */
  rewards: Record<string, Float64Array>;
  /** [particles], before resampling */
  logWeights: Float64Array;
  /** [images] the effective sample size of each image, before resampling */
  ess: Float64Array;
  failures: NativeFailure[];
  /** Not in the last step. Its tokens are final once accept() was called. */
  proposal?: {
    /** [particles], slots within the image */
    ancestors: Int32Array;
    /** [images] 0 where an image's weights are carried over */
    resampled: Uint8Array;
    /** [particles, length] with the positions that opened */
    tokens: Int32Array;
  };
}

/** Bytes that are copied between host and device, by what they are for (`Copied` in cpp/particles/transfer.h). */
export type NativeCopies = Record<CopyPurpose, { toDevice: number; toHost: number }>;

/** B images × K particles (`particles` = B·K, image after image) on the engine's device; `step` counts the steps done. */
export interface NativeParticles {
  /**
   * One forward for each distinct state that the step before did not have, and one read of its logits; resolves to the
   * distinct states of each image, and the forwards.
   */
  denoise(): Promise<{ states: Int32Array; forwards: number; failures: NativeFailure[] }>;
  /** `tokens` [guesses, particles, length]; those of an image that fails mean nothing. */
  guess(step: number): Promise<{ tokens: Int32Array; failures: NativeFailure[] }>;
  /**
   * Rewards, weights and, unless the step is the last, resampling and the tokens that it opens. Texts that the step before
   * had are not encoded again. `given` has the values [guesses · particles] of the rewards that are given, by their names.
   * What is proposed for an image that fails means nothing.
   */
  advance(step: number, texts: NativeTexts, given: Record<string, Float64Array>): Promise<NativeOutcome>;
  /** Draws tokens of the guesses or of the proposal again; resolves to them, −1 where nothing is left. */
  redraw(step: number, ofProposal: boolean, what: NativeRedraw): Promise<Int32Array>;
  /** Adds the proposal's log-probabilities and importance weights. */
  accept(): Promise<void>;
  /** Leaves an image out of all that follows. */
  retire(image: number): Promise<void>;
  /** `tokens` [particles, length], `logProb` [particles] */
  finish(): Promise<{
    tokens: Int32Array;
    logProb: Float64Array;
    stages: { name: string; ms: number; calls: number }[];
  }>;
  /** All that was copied so far, and how often the host waited for the device. */
  copies(): Promise<{ copies: NativeCopies; waits: number }>;
  /** `gram` [length, length] and `counted` [length] of one particle. */
  similarity(
    particle: number,
  ): Promise<{ gram: Float32Array; counted: Uint8Array; mean: number; variance: number; reward: number }>;
  /** Memory of the device held now; {@link NativeAddon.planMemory} has it beforehand. */
  bytes(): Promise<number>;
  /** Stops the job that runs now, and fails all later ones with "ABORTED". */
  cancel(): void;
  /** Frees the memory on the engine's thread, once no job uses it. */
  release(): void;
}

/** Bytes of the device's memory that the particles of a call take, by what they are for. */
export interface NativeMemoryPlan {
  /** The logits of every state, with the other tensors of the dLLM's runs. */
  logits: number;
  /** Tables for the draws, with the parts of S. */
  tiles: number;
  /** Each row's softmax statistics, and S. */
  rows: number;
  /** The tensors of CLIP's runs. */
  texts: number;
  /** Tokens, rewards, weights, embeddings of the images. */
  particles: number;
}

/** A lock on a file that is there. One at a time has it, of all processes; the system frees it with the process. */
export interface NativeFileLock {
  /** Whether this lock has the file; false where another has it, or where the file was replaced before it was locked. */
  readonly isHeld: boolean;
  release(): void;
}

/** How the addon was compiled. */
export interface NativeBuild {
  /** The compiler's name and version, such as `GCC 12.2.0`. */
  compiler: string;
  /** What {@link NativeAddon.instructionSets} calls `baseline`: `SSE2`, `AVX2`, `AVX-512`, `NEON` or `scalar`. */
  baseline: string;
}

/** Which parts of CUDA this build and this machine have. */
export interface NativeCuda {
  /** Compute capabilities that the build has kernels for, `75, 80`; empty where it has none. */
  architectures: string;
  /** The CUDA that the kernels were built with, such as `13.0`; empty where the build has none. */
  runtime: string;
  /** Release of the driver, `580.65.06`; empty where there is none, or it does not say. */
  driver: string;
  /** The newest CUDA that the driver serves, `13.0`; empty where there is no driver. */
  driverServes: string;
  /** Why a driver that is there gives no GPUs; empty where it gives them. */
  fault: string;
  /** `cuda:0`, `cuda:1`, … */
  gpus: NativeGpu[];
}

/** A GPU, as its driver describes it. */
export interface NativeGpu {
  name: string;
  /** The compute capability times ten: 90 for 9.0. */
  computeCapability: number;
  /** Size of its memory in bytes. */
  bytes: number;
}

export interface NativeAddon {
  setErrorClass(errorClass: typeof FkinvError): void;
  build(): NativeBuild;
  /** What the kernels were written for and this processor has: `baseline`, `avx2`, `avx512`; the best one last. */
  instructionSets(): string[];
  /** Asks the driver; touches no GPU. */
  cuda(): NativeCuda;
  /** Opens ONNX Runtime, unless one is open already, and gives the folder in which it looks for its providers. */
  openOnnxRuntime(libonnxruntime: string): string;
  /** Loads the CUDA provider of the ONNX Runtime that is open, where it stays until the process ends. */
  loadCudaProvider(): void;
  hasCudaProvider(): boolean;
  /** ONNX Runtime's version by its own word; empty before an engine has opened it. */
  onnxRuntimeVersion(): string;
  /** Stops every engine of this thread and waits for them; for the process's exit. */
  stopEngines(): void;
  Engine: new (libonnxruntime: string, threads: number, instructionSet: string, device: string) => NativeEngine;
  /**
   * Made on the engine's thread, which alone gives the device work. Rejects with `OUT_OF_MEMORY` where there is no room.
   */
  createParticles(
    engine: NativeEngine,
    dllm: NativeDllmGraph,
    text: NativeTextGraph,
    /** Embeddings [1, E] of each image's reference images: one, or several that are averaged. */
    references: NativeTensor[][],
    embedSize: number,
    options: NativeParticleOptions,
    /** The condition [1, …conditionShape] of each image; an empty list where the graph's conditionShape is empty. */
    conditions: NativeTensor[],
    recorder?: NativeRecorder,
  ): Promise<NativeParticles>;
  /** The memory that {@link NativeAddon.createParticles} would take with the same arguments, without taking it. */
  planMemory(
    engine: NativeEngine,
    dllm: NativeDllmGraph,
    text: NativeTextGraph,
    embedSize: number,
    options: NativeParticleOptions,
  ): NativeMemoryPlan;
  Recorder: new () => NativeRecorder;
  /** Throws `OUTPUT_FAILED` where `file` cannot be opened, or locked at all. */
  FileLock: new (file: string) => NativeFileLock;
  /** Logits of 16 bits are given as their bits, with their `type`. */
  coupling(
    logits: Float32Array | Uint16Array,
    type: LogitsType,
    positions: number,
    vocab: number,
    counted: Uint8Array,
    instructionSet: string,
  ): {
    gram: Float32Array[];
    mean: number[];
    variance: number[];
    reward: number[];
    entropy: Float32Array[];
    rowMax: Float32Array[];
  };
  draw(
    logits: Float32Array | Uint16Array,
    type: LogitsType,
    vocab: number,
    temperature: number,
    topK: number,
    topP: number,
    u: Float64Array,
    uInside: Float64Array,
    instructionSet: string,
  ): Int32Array;
  resample(logWeights: Float64Array, scheme: ResamplingScheme, u: Float64Array): { ancestors: Int32Array; ess: number };
  philox(counter: Uint32Array, key: Uint32Array): Uint32Array;
}

const root = path.join(__dirname, '..', '..');
// npm rebuild is not what to advise: where install scripts are off it does nothing, and says nothing.
const remedy = `build one with node "${path.join(root, 'scripts', 'install.mjs')}", CMake 3.20, make and a C++20 compiler`;

/** The addon's file: build/Release, else the prebuild that fits. */
function locate(): string {
  try {
    return nodeGypBuild.resolve(root);
  } catch (cause) {
    throw new FkinvError(
      'ADDON_NOT_FOUND',
      `there is no native addon for ${process.platform}-${process.arch}: no prebuilt one fits, and none was built ` +
        `(npm ran without install scripts, or could not build): ${remedy}`,
      { cause },
    );
  }
}

/** Why a file that is there does not load; glibc's loader names the version it lacks, not the one it has. */
function loadFault(file: string, message: string): string {
  const needed = /GLIBC_([\d.]+)' not found/.exec(message)?.[1];
  if (needed === undefined) return `the native addon ${file} does not load (${message})`;
  return `the native addon ${file} needs glibc ${needed}, and this machine has ${versionSync() ?? 'an older one'}`;
}

function load(): NativeAddon {
  const file = locate();
  try {
    const addon = nodeGypBuild(root) as NativeAddon;
    addon.setErrorClass(FkinvError);
    process.on('exit', () => addon.stopEngines());
    return addon;
  } catch (cause) {
    throw new FkinvError('ADDON_NOT_FOUND', `${loadFault(file, messageOf(cause))}: ${remedy}`, { cause });
  }
}

export const native = load();
