import { access, constants, readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { FkinvError, messageOf } from './errors';
import type { NativeEngine, NativeSession, NativeTensorInfo } from './native';
import { validate } from './validate';

/** A folder of model files, laid out as Hugging Face does. */
export class ModelFolder {
  constructor(readonly path: string) {}

  /** The JSON file `name`, with the fields of `schema`. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`. */
  async json<S extends z.ZodType>(name: string, schema: S): Promise<z.output<S>> {
    const file = path.join(this.path, name);
    const text = await readFile(file, 'utf8').catch(missing(file));
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new FkinvError('MODEL_INVALID', `${file} is not JSON: ${messageOf(cause)}`, { cause });
    }
    return validate(schema, value, file, 'MODEL_INVALID');
  }

  /** The graph `name`, loaded on the engine. Throws `MODEL_NOT_FOUND` or `MODEL_INVALID`. */
  async graph(engine: NativeEngine, name: string): Promise<Graph> {
    const file = path.join(this.path, name);
    await access(file, constants.R_OK).catch(missing(file));
    return new Graph(file, await engine.load(file));
  }
}

function missing(file: string) {
  return (cause: unknown): never => {
    throw new FkinvError('MODEL_NOT_FOUND', `cannot read ${file} (${messageOf(cause)}): a model folder needs it`, {
      cause,
    });
  };
}

/** What a caller needs a tensor of a graph to be. A number fixes an axis; a name leaves it to the model. */
interface Wanted {
  name: string;
  type: 'float32' | 'int64';
  axes: (number | string)[];
}

/** A loaded graph, and checks of what it takes and gives. */
export class Graph {
  constructor(
    readonly file: string,
    readonly session: NativeSession,
  ) {}

  /** Throws `MODEL_INTERFACE` unless the graph has these inputs and no others. */
  expectInputs(wanted: Wanted[]): void {
    const { inputs } = this.session;
    for (const tensor of wanted) this.#expect('input', inputs, tensor);
    const extra = inputs.filter(({ name }) => !wanted.some((tensor) => tensor.name === name));
    if (extra.length === 0) return;
    this.#fail(
      `takes ${list(extra)} besides ${wanted.map(({ name }) => name).join(', ')}, which nothing here can give`,
    );
  }

  /** Throws `MODEL_INTERFACE` unless the graph gives this tensor; returns its shape, −1 where an axis is dynamic. */
  expectOutput(wanted: Wanted): number[] {
    return this.#expect('output', this.session.outputs, wanted).shape;
  }

  #expect(kind: 'input' | 'output', tensors: NativeTensorInfo[], wanted: Wanted): NativeTensorInfo {
    const asked = `${wanted.type} ${kind} "${wanted.name}" [${wanted.axes.join(', ')}]`;
    const tensor = tensors.find(({ name }) => name === wanted.name);
    if (tensor === undefined) return this.#fail(`has no ${asked}; it has ${list(tensors)}`);
    const fits =
      tensor.type === wanted.type &&
      tensor.shape.length === wanted.axes.length &&
      tensor.shape.every(
        (extent, i) => extent === -1 || typeof wanted.axes[i] === 'string' || extent === wanted.axes[i],
      );
    if (!fits) this.#fail(`should have ${asked}; it has ${list([tensor])}`);
    return tensor;
  }

  #fail(what: string): never {
    throw new FkinvError('MODEL_INTERFACE', `${this.file} ${what}`);
  }
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
  if (value === undefined) {
    throw new FkinvError('MODEL_INTERFACE', `${graph.file} leaves ${what} open, and config.json does not give it`);
  }
  if (configured !== undefined && value !== configured) {
    throw new FkinvError('MODEL_INTERFACE', `${graph.file} has ${what} ${value}, config.json says ${configured}`);
  }
  return value;
}
