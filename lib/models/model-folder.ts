import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, constants, open, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { z } from 'zod';
import { FkinvError, messageOf } from '../errors';
import type { NativeEngine } from '../native/addon';
import { Graph } from './graph';
import { choicesOf, type GraphChoice, type GraphFile } from './graph-file';
import { repositoryOf } from './known';
import { externalData } from './onnx-file';
import { validate } from '../util/validate';

/** What a Git LFS pointer begins with: the few lines that stand for a large file in a clone made without git-lfs. */
const pointerStart = 'version https://git-lfs.github.com/spec/';

/** What is known of a folder beside its path. */
export interface FolderOptions {
  /** The repository of the Hugging Face Hub that its files are of, as `org/name`; default as the path tells. */
  repository?: string | undefined;
  /** The variant of its graphs to load, such as `q8`; default the one that the device runs best. */
  variant?: string | undefined;
  /** Whether ONNX Runtime makes a copy of the weights as its kernels read them; default true. */
  prepacking?: boolean;
  /** Called with one line where a graph is taken that nobody named; default nothing is said. */
  warn?: (message: string) => void;
}

/** A folder of model files, laid out as Hugging Face does. */
export class ModelFolder {
  readonly repository: string | undefined;
  readonly variant: string | undefined;
  readonly #prepacking: boolean;
  readonly #warn: (message: string) => void;
  /** Graphs that it was told of: several engines load the same. */
  readonly #told = new Set<string>();

  constructor(
    readonly path: string,
    { repository = repositoryOf(path), variant, prepacking = true, warn = () => undefined }: FolderOptions = {},
  ) {
    this.repository = repository;
    this.variant = variant;
    this.#prepacking = prepacking;
    this.#warn = warn;
  }

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

  /**
   * The graph, loaded on the engine; where it is a variant that nobody named, a warning says so. Throws `MODEL_NOT_FOUND` or
   * `MODEL_INVALID`.
   */
  async graph(engine: NativeEngine, graph: GraphFile): Promise<Graph> {
    const device = engine.device === 'cpu' ? 'cpu' : 'cuda';
    const { name, optimization, variant } = await this.find(graph, device);
    const isChosen = variant !== undefined && variant !== 'fp32' && this.variant === undefined;
    if (isChosen && !this.#told.has(name)) {
      this.#told.add(name);
      const there = await this.variantsThere(graph);
      this.#warn(`${this.path}: takes ${name} (${variant}), of ${there.join(', ')} the one for the ${device}`);
    }
    const file = this.file(name);
    try {
      const { cudaGraphs = false } = graph;
      return new Graph(file, await engine.load(file, { optimization, cudaGraphs, prepacking: this.#prepacking }));
    } catch (error) {
      // Either the graph itself or its external data can be a pointer.
      const data = await externalData(file, name).catch(() => []);
      for (const each of [file, ...data.map((one) => this.file(one))]) await expectNoPointer(each);
      throw error;
    }
  }

  /** The file that is the graph on a device: the first of {@link choicesOf} that is there. Throws `MODEL_NOT_FOUND`. */
  async find(graph: GraphFile, device: 'cpu' | 'cuda'): Promise<GraphChoice> {
    const choices = choicesOf(graph, this.variant, device);
    const causes: unknown[] = [];
    for (const choice of choices) {
      try {
        await access(this.file(choice.name), constants.R_OK);
        return choice;
      } catch (cause) {
        causes.push(cause);
      }
    }
    await this.#expectFolder();
    const there = await this.variantsThere(graph);
    const has = there.length === 0 ? '' : `; of this graph it has ${there.join(', ')}`;
    const sought = this.variant === undefined && graph.named === undefined ? choicesOf(graph, 'fp32', device) : choices;
    const names = sought.map(({ name }) => this.file(name)).join(' or ');
    const what = names === '' ? `${this.path} has no variant ${this.variant ?? ''}` : `cannot read ${names}`;
    const reason = causes.length === 0 ? '' : ` (${messageOf(causes[0])})`;
    throw new FkinvError('MODEL_NOT_FOUND', `${what}${reason}: ${graph.needs}${has}`, { cause: causes[0] });
  }

  /** The variants of the graph whose files are in the folder. */
  async variantsThere(graph: GraphFile): Promise<string[]> {
    const choices = choicesOf({ ...graph, named: undefined }, undefined, 'cpu');
    const isThere = await Promise.all(choices.map(({ name }) => isReadable(this.file(name))));
    return [
      ...new Set(choices.flatMap(({ variant }, i) => (isThere[i] === true && variant !== undefined ? variant : []))),
    ];
  }
}

function isReadable(file: string): Promise<boolean> {
  return access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}

/** Throws `MODEL_INVALID` where a file is a Git LFS pointer in place of its content; the message calls it `shown`. */
export async function expectNoPointer(file: string, shown = file): Promise<void> {
  const opened = await open(file).catch(() => undefined); // whoever reads it afterwards says why it cannot be read
  if (opened === undefined) return;
  try {
    const { buffer } = await opened.read({ buffer: Buffer.alloc(pointerStart.length) });
    if (buffer.toString('latin1') === pointerStart) refusePointer(shown);
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
