import { FkinvError } from '../errors';
import type { NativeSession, NativeTensorInfo } from '../native/addon';

/** What a caller needs a tensor of a graph to be. A number fixes an axis; a name leaves it to the model. */
export interface Wanted {
  name: string;
  /** The types that it may have. */
  types: readonly ('float32' | 'float16' | 'bfloat16' | 'int64' | 'int32')[];
  /** The first axis is that of rows, which run one at a time: the graph must leave it dynamic, or have it 1. */
  axes: readonly [string, ...(number | string)[]];
  /** True where the first axis is not that of rows, each of which is given the whole tensor. */
  isShared?: boolean;
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

  /** Whether the graph has an output of that name. */
  gives(name: string): boolean {
    return this.session.outputs.some((tensor) => tensor.name === name);
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

  #expect(kind: 'input' | 'output', tensors: NativeTensorInfo[], wanted: Wanted): NativeTensorInfo {
    const { name, types, axes, isShared = false } = wanted;
    const asked = `${anyOf(types)} ${kind} "${name}" [${axes.join(', ')}]`;
    const tensor = tensors.find((one) => one.name === name);
    if (tensor === undefined) return this.refuse(`has no ${asked}; it has ${list(tensors)}`);
    const { type, shape } = tensor;
    const fits =
      types.some((one) => one === type) &&
      shape.length === axes.length &&
      shape.every((extent, i) => extent === -1 || typeof axes[i] === 'string' || extent === axes[i]);
    if (!fits) this.refuse(`should have ${asked}; it has ${list([tensor])}`);
    if (!isShared && shape[0] !== -1 && shape[0] !== 1) {
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
