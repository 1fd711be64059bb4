/**
 * Every code an {@link FkinvError} can carry, and what to do about it. Codes are stable; messages are not.
 * @enum
 */
export const errorCodes = {
  INVALID_OPTION: 'An option is unknown, of the wrong type or out of its range: the message names it and the range.',
  IDENTICAL_PARTICLES:
    'Temperature 0 or topK 1 with the order confidence, entropy or margin makes all particles equal: use the order random, a temperature above 0, or one particle.',
  TEMPLATE_INVALID:
    'The template cannot be read, its fixed text cannot be written in the model’s tokens, or it is longer than the model takes: the message says which.',
  BATCH_TOO_LARGE:
    'An image has more particles than a forward may have rows: use fewer particles, or a larger maxBatch if the model takes it.',
  INPUT_FAILED: 'The iterable of images threw; what it threw is the cause.',
  OUTPUT_FAILED: 'A file that was asked for cannot be written: check its path, its permissions and the disk.',
  IMAGE_NOT_FOUND: 'The image file does not exist or cannot be read: check the path and its permissions.',
  IMAGE_INVALID:
    'The image is empty, truncated, no regular file or of no format that is known: open it in a viewer, save it again.',
  IMAGE_FORBIDDEN:
    'A job names a file outside the folders that fkinv worker was given by --root: put the file there, or give its folder too.',
  IMAGE_TOO_LARGE:
    'The image has more than 268 million pixels, or would once resized for the model: scale or crop it first.',
  INVALID_PIXELS: 'Raw pixels do not fit their width, height and channels: data holds width × height × channels bytes.',
  MODEL_NOT_FOUND:
    'A model folder, or a file of it, is missing or cannot be read: check the path that the message names and its permissions, or fetch it, by fkinv models pull where it is on the Hugging Face Hub.',
  HUB_UNAVAILABLE:
    'The Hugging Face Hub cannot be reached, or breaks off: check the connection, HTTPS_PROXY and HF_ENDPOINT, and try again, which goes on where it stopped.',
  HUB_REFUSED:
    'The Hugging Face Hub does not give what was asked for, or it is no model that can be loaded: the message says which, and what to do.',
  HUB_INVALID:
    'What the Hugging Face Hub or a mirror sends is not what it says it is, such as a file of another hash: try again, or without the mirror.',
  CACHE_FAILED:
    'A file of the Hugging Face cache cannot be written: check the disk and the permissions, or name another folder by HF_HUB_CACHE.',
  MODEL_INVALID:
    'A file of a model folder cannot be parsed, or says what cannot be: fetch or export it again, or mend what the message names.',
  MODEL_INTERFACE:
    'A graph has other inputs, outputs, types or sizes than the method needs: export it as the message says.',
  MODEL_RUN: 'ONNX Runtime failed while it ran a graph: the message is its own.',
  TOKENIZER_MISMATCH:
    'A tokenizer has ids for which the logits have no column: tokenizer and graph are of different models.',
  PAIR_MISMATCH:
    'The dLLM was trained with another CLIP than the one beside it: give that CLIP, which the message names, or a dLLM without an image condition, which fits any.',
  INVALID_LOGITS: 'The dLLM gave NaN or +inf: usually a float16 export that overflows, export it in float32.',
  NOTHING_LEFT: 'Every token is suppressed or banned at a position: nothing can be drawn there. Ban less.',
  INVALID_EMBEDDING: 'An embedding of CLIP or of the dLLM’s own vision graph is zero or not finite: check the export.',
  DEGENERATE_WEIGHTS: 'No particle has a finite weight: lower lambdaClip and lambdaEdit.',
  QUEUE_FULL:
    'As many calls of invert wait for their turn as maxQueue of load allows: call again later, or use invertAll, which reads no more than it can take.',
  ABORTED: 'The signal was aborted; its reason is the cause.',
  DISPOSED: 'The Inverter was disposed of, before or during the call: load another.',
  WORKER_DIED:
    'Workers ended without a word, each while it did this image and nothing else, as often as --attempts allows: look at the image and at the memory of the workers, then try again with fkinv enqueue --retry-failed.',
  BULLMQ_NOT_FOUND: 'BullMQ, which fkinv worker and fkinv enqueue need, is not installed: npm install bullmq ioredis.',
  REDIS_UNAVAILABLE: 'Redis cannot be reached, or refuses: check the address, the password, and that it runs.',
  ORT_NOT_FOUND: 'ONNX Runtime’s library is missing: npm install onnxruntime-node, without --omit.',
  ORT_VERSION:
    'ONNX Runtime is too old, or a second one was asked for in one process: install the pinned onnxruntime-node.',
  CUDA_UNAVAILABLE:
    'A CUDA device was asked for and cannot be had: no GPU, no driver or an old one, a build without CUDA, or no CUDA provider of ONNX Runtime. The message says which and what to do; the device auto would use the CPU.',
  CUDA_FAILED: 'A call to the GPU failed: the message is CUDA’s. Load another Inverter; if it comes again, report it.',
  ADDON_NOT_FOUND:
    'No native addon of the package loads on this machine: build one with node node_modules/fkinv-native/scripts/install.mjs, CMake and a C++20 compiler.',
  OUT_OF_MEMORY:
    'An allocation failed, or a thread could not be started: use fewer particles or threads, a smaller maxBatch or a shorter length.',
  INTERNAL: 'A fault of this package: please report it with the message.',
} as const;

/** The code of an {@link FkinvError}: one of the keys of {@link errorCodes}. */
export type ErrorCode = keyof typeof errorCodes;

/** The one error this package throws or rejects with; what it came from is its `cause`. */
export class FkinvError extends Error {
  /** The name of the class, `FkinvError`. */
  override readonly name = 'FkinvError';
  /** What kind of failure it is: stable, for programs. */
  readonly code: ErrorCode;

  /** `message` says what was wrong, where, and what to do; `options.cause` is what it came from. */
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /**
   * @internal An error of another copy of this package in the process is one too: they share the addon, and its errors are of
   * the class of the copy that was loaded last.
   */
  static override [Symbol.hasInstance](value: unknown): value is FkinvError {
    return value instanceof Error && value.name === 'FkinvError';
  }
}

/** @internal The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
