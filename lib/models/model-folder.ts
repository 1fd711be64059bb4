import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, constants, open, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { z } from 'zod';
import { FkinvError, messageOf } from '../errors';
import type { NativeEngine, NativeSession, NativeTensorInfo } from '../native/addon';
import { validate } from '../util/validate';

/** A graph of a folder, and how to load it. */
export interface GraphFile {
  /** The file that the manifest names; without one the graph is `standard`, in the folder itself or in its `onnx/`. */
  named: string | undefined;
  standard: string;
  /** ONNX Runtime's GraphOptimizationLevel. */
  optimization: number;
  /** Whether a GPU captures its runs as CUDA graphs; default false. */
  cudaGraphs?: boolean;
  /** What the folder needs, which the error says where the graph is missing. */
  needs: string;
  /** The manifest that would name `file` as this graph, which that error shows where there are graphs of other precisions. */
  manifestNaming?: (file: string) => object;
}

/** The folder at `given`, by default that of the embedded demo model of this kind. */
export function modelFolder(kind: 'dllm' | 'clip', given?: string): ModelFolder {
  return new ModelFolder(path.resolve(given ?? path.join(__dirname, '..', '..', 'models', kind)));
}

/** What a Git LFS pointer begins with: the few lines that stand for a large file in a clone made without git-lfs. */
const pointerStart = 'version https://git-lfs.github.com/spec/';

/** A folder of model files, laid out as Hugging Face does. */
export class ModelFolder {
  constructor(readonly path: string) {}

  /** Path of the file `name`. */
  file(name: string): string {
    return path.join(this.path, name);
  }

  /** The JSON file `name`, with the fields of `schema`. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`. */
  async json<S extends z.ZodType>(name: string, schema: S): Promise<z.output<S>> {
    const text = await this.#text(name).catch((cause: unknown) =>
      this.#unreadable(name, cause, ': a model folder needs it'),
    );
    return parse(this.file(name), text, schema);
  }

  /** Reads a JSON file that need not be there: one that is not reads as `{}`. Throws as {@link json} does. */
  async optionalJson<S extends z.ZodType>(name: string, schema: S): Promise<z.output<S>> {
    return parse(this.file(name), (await this.optionalText(name)) ?? '{}', schema);
  }

  /** The text of a file; undefined where there is none. Throws `MODEL_NOT_FOUND` where there is one that cannot be read. */
  async optionalText(name: string): Promise<string | undefined> {
    return this.#text(name).catch(async (cause: unknown) => {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') return this.#unreadable(name, cause);
      await this.#expectFolder();
      return undefined;
    });
  }

  /** Text without the byte order mark that some editors put before it. */
  async #text(name: string): Promise<string> {
    return (await readFile(this.file(name), 'utf8')).replace(/^\ufeff/, '');
  }

  /** Throws `MODEL_NOT_FOUND` for what reading the file `name` failed with. */
  async #unreadable(name: string, cause: unknown, need = ''): Promise<never> {
    await this.#expectFolder();
    return unreadable(this.file(name), need)(cause);
  }

  /** Throws `MODEL_NOT_FOUND` where the folder itself is what is missing. */
  async #expectFolder(): Promise<void> {
    const found = await stat(this.path).catch((cause: unknown) => {
      throw new FkinvError(
        'MODEL_NOT_FOUND',
        `cannot read the model folder ${this.path} (${messageOf(cause)}): a model is a folder on this machine, not a name`,
        { cause },
      );
    });
    if (found.isDirectory()) return;
    throw new FkinvError('MODEL_NOT_FOUND', `${this.path} is no folder: a model is a folder of files, name that`);
  }

  /** Holds files to their SHA-256, in hexadecimal, by name. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`. */
  async verify(hashes: Record<string, string>): Promise<void> {
    for (const [name, wanted] of Object.entries(hashes)) {
      const file = this.file(name);
      const found = await sha256(file);
      if (found !== wanted) {
        await expectNoPointer(file);
        throw new FkinvError(
          'MODEL_INVALID',
          `${file} has the SHA-256 ${found}, the manifest says ${wanted}: fetch it again`,
        );
      }
    }
  }

  /** The graph, loaded on the engine. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`. */
  async graph(engine: NativeEngine, graph: GraphFile): Promise<Graph> {
    const file = await this.#find(graph);
    try {
      return new Graph(file, await engine.load(file, graph.optimization, graph.cudaGraphs));
    } catch (error) {
      // Either the graph itself or its external data can be a pointer.
      for (const beside of await filesBeside(file)) await expectNoPointer(beside);
      throw error;
    }
  }

  async #find({ named, standard, needs, manifestNaming }: GraphFile): Promise<string> {
    const names = named === undefined ? [standard, path.posix.join('onnx', standard)] : [named];
    const causes: unknown[] = [];
    for (const file of names.map((name) => this.file(name))) {
      try {
        await access(file, constants.R_OK);
        return file;
      } catch (cause) {
        causes.push(cause);
      }
    }
    await this.#expectFolder();
    const reasons = causes.map(messageOf).join('; ');
    const others = named === undefined && manifestNaming !== undefined ? await this.#otherPrecisions(names) : [];
    const [first] = others;
    const remedy =
      first === undefined
        ? ''
        : `; there is ${others.join(', ')}: name the one to take in fkinv.json, such as ` +
          JSON.stringify(manifestNaming?.(first));
    throw new FkinvError(
      'MODEL_NOT_FOUND',
      `cannot read ${this.file(names[0] ?? '')} (${reasons}): ${needs}${remedy}`,
      {
        cause: causes[0],
      },
    );
  }

  /** Graphs such as `onnx/model_fp16.onnx` and `onnx/model_quantized.onnx`, for graphs of these names. */
  async #otherPrecisions(names: string[]): Promise<string[]> {
    const found = names.map(async (name) => {
      const { dir, name: stem } = path.posix.parse(name);
      const files = await readdir(this.file(dir)).catch(() => []);
      const others = files.filter((file) => file.startsWith(`${stem}_`) && file.endsWith('.onnx')).sort();
      return others.map((file) => path.posix.join(dir, file));
    });
    return (await Promise.all(found)).flat();
  }
}

/** Files whose name begins as that of the graph `file` does: itself and its external data. */
async function filesBeside(file: string): Promise<string[]> {
  const { dir, base } = path.parse(file);
  const files = await readdir(dir).catch(() => []);
  return files.filter((name) => name.startsWith(base)).map((name) => path.join(dir, name));
}

/** Throws `MODEL_INVALID` where a file is a Git LFS pointer in place of its content. */
export async function expectNoPointer(file: string): Promise<void> {
  const opened = await open(file).catch(() => undefined); // whoever reads it afterwards says why it cannot be read
  if (opened === undefined) return;
  try {
    const { buffer } = await opened.read({ buffer: Buffer.alloc(pointerStart.length) });
    if (buffer.toString('latin1') === pointerStart) refusePointer(file);
  } catch (error) {
    if (error instanceof FkinvError) throw error;
  } finally {
    await opened.close();
  }
}

function refusePointer(file: string, cause?: unknown): never {
  throw new FkinvError(
    'MODEL_INVALID',
    `${file} is a Git LFS pointer, not the file that it stands for: install git-lfs and run git lfs pull in the clone, or ` +
      'download the file itself',
    { cause },
  );
}

function parse<S extends z.ZodType>(file: string, text: string, schema: S): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    if (text.startsWith(pointerStart)) refusePointer(file, cause);
    throw new FkinvError('MODEL_INVALID', `${file} is not JSON: ${messageOf(cause)}`, { cause });
  }
  return validate(schema, value, file, 'MODEL_INVALID');
}

/** SHA-256 of a file, in hexadecimal. Throws `MODEL_NOT_FOUND`. */
export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  } catch (cause) {
    return unreadable(file)(cause);
  }
  return hash.digest('hex');
}

/** Throws `MODEL_NOT_FOUND` for what reading `file` failed with. */
export function unreadable(file: string, need = '') {
  return (cause: unknown): never => {
    throw new FkinvError('MODEL_NOT_FOUND', `cannot read ${file} (${messageOf(cause)})${need}`, { cause });
  };
}

/** What a caller needs a tensor of a graph to be. A number fixes an axis; a name leaves it to the model. */
export interface Wanted {
  name: string;
  /** The types that it may have. */
  types: readonly ('float32' | 'float16' | 'bfloat16' | 'int64')[];
  /** The first axis is that of rows, which run one at a time: the graph must leave it dynamic, or have it 1. */
  axes: readonly [string, ...(number | string)[]];
}

/** A loaded graph, and checks of what it takes and gives. */
export class Graph {
  constructor(
    readonly file: string,
    readonly session: NativeSession,
  ) {}

  /** Whether the graph has an input of that name. */
  takes(name: string): boolean {
    return this.session.inputs.some((tensor) => tensor.name === name);
  }

  /**
   * Throws `MODEL_INTERFACE` unless the graph has these inputs and no others, for which the message says `remedy`; returns them
   * in the order asked for.
   */
  expectInputs(wanted: Wanted[], remedy = 'which nothing here can give'): NativeTensorInfo[] {
    const { inputs } = this.session;
    const found = wanted.map((tensor) => this.#expect('input', inputs, tensor));
    const extra = inputs.filter((tensor) => !found.includes(tensor));
    if (extra.length === 0) return found;
    return this.refuse(`takes ${list(extra)} besides ${wanted.map(({ name }) => name).join(', ')}, ${remedy}`);
  }

  /** Throws `MODEL_INTERFACE` unless the graph gives this tensor; returns it. Other outputs are left alone. */
  expectOutput(wanted: Wanted): NativeTensorInfo {
    return this.#expect('output', this.session.outputs, wanted);
  }

  /** Throws `MODEL_INTERFACE` with a message that names the graph's file and says `what` is wrong. */
  refuse(what: string): never {
    throw new FkinvError('MODEL_INTERFACE', `${this.file} ${what}`);
  }

  #expect(kind: 'input' | 'output', tensors: NativeTensorInfo[], { name, types, axes }: Wanted): NativeTensorInfo {
    const asked = `${anyOf(types)} ${kind} "${name}" [${axes.join(', ')}]`;
    const tensor = tensors.find((one) => one.name === name);
    if (tensor === undefined) return this.refuse(`has no ${asked}; it has ${list(tensors)}`);
    const { type, shape } = tensor;
    const fits =
      types.some((one) => one === type) &&
      shape.length === axes.length &&
      shape.every((extent, i) => extent === -1 || typeof axes[i] === 'string' || extent === axes[i]);
    if (!fits) this.refuse(`should have ${asked}; it has ${list([tensor])}`);
    if (shape[0] !== -1 && shape[0] !== 1) {
      this.refuse(
        `is made for ${shape[0] ?? 0} ${axes[0]} at once, ${list([tensor])}: they run one at a time, export it with ` +
          'that axis dynamic',
      );
    }
    return tensor;
  }
}

function anyOf(names: readonly string[]): string {
  return names.length === 1 ? names.join('') : `${names.slice(0, -1).join(', ')} or ${names.at(-1) ?? ''}`;
}

function list(tensors: NativeTensorInfo[]): string {
  return tensors
    .map(({ name, type, shape }) => `${type} "${name}" [${shape.map((n) => (n === -1 ? '?' : n)).join(', ')}]`)
    .join(', ');
}

/** The one value of an axis that graph and config may both give. Throws `MODEL_INTERFACE` when they differ or neither does. */
export function agreeOnAxis(
  graph: Graph,
  what: string,
  axis: number | undefined,
  configured: number | undefined,
): number {
  const fixed = axis === -1 ? undefined : axis;
  const value = fixed ?? configured;
  if (value === undefined) return graph.refuse(`leaves ${what} open, and config.json does not give it`);
  if (configured !== undefined && value !== configured) {
    graph.refuse(`has ${what} ${value}, config.json says ${configured}`);
  }
  return value;
}
