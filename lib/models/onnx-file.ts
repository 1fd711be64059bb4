import { open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { FkinvError, messageOf } from '../errors';

// An ONNX file is one protobuf message (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). It is read field by field
// through a window of the file, and what is not asked for is passed over: weights of gigabytes are never in memory.

/** A constant tensor of a graph. */
export interface OnnxTensor {
  name: string;
  /** The number of its element type in TensorProto.DataType: 1 is float32, 10 float16. */
  type: number;
  dims: number[];
  /** Bytes that its elements take, wherever they are; 0 for texts. */
  bytes: number;
  /** Where they are in another file. */
  external?: {
    /** As the graph has it: a file beside it. */
    location: string;
    offset: number;
    /** To the end of the file where it is undefined. */
    length: number | undefined;
  };
}

/** Fields that lead to tensors, by message, each with the message that it holds. */
const paths: Record<string, Record<number, string>> = {
  model: { 7: 'graph', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  function: { 7: 'node', 11: 'attribute' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
};

/** TensorProto's fields. */
const tensorField = { dims: 1, type: 2, name: 8, external: 13 } as const;

/** Bits of an element by TensorProto.DataType; of texts, 8, none. */
const elementBits = [0, 32, 8, 8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64, 64, 128, 16, 8, 8, 8, 8, 4, 4, 4, 8, 2, 2];

const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/**
 * The constant tensors of the ONNX file `file`: initialisers and those in attributes, of its graphs within graphs too. Throws
 * `MODEL_NOT_FOUND` or `MODEL_INVALID`.
 */
export async function tensorsOf(file: string, shown = file): Promise<OnnxTensor[]> {
  const handle = await open(file).catch((cause: unknown) => {
    throw new FkinvError('MODEL_NOT_FOUND', `cannot read ${shown} (${messageOf(cause)})`, { cause });
  });
  try {
    const { size } = await handle.stat();
    const tensors: OnnxTensor[] = [];
    await collect(new Cursor(shown, handle), 'model', { start: 0, end: size, depth: 0 }, tensors);
    return tensors;
  } finally {
    await handle.close();
  }
}

/**
 * The files that the graph at `name` in `folder` keeps tensors in, by their names in the folder. Throws `MODEL_INVALID` where one
 * would lie outside of the folder, besides what {@link tensorsOf} throws.
 * @param file - Where the graph lies, which may be another place than the one that it is to have.
 * @param shown - What messages call it.
 */
export async function externalData(file: string, name: string, shown = file): Promise<string[]> {
  const locations = new Set((await tensorsOf(file, shown)).flatMap(({ external }) => external?.location ?? []));
  return [...locations].map((location) => placeOf(name, location, shown));
}

function placeOf(graph: string, location: string, shown: string): string {
  const isElsewhere = (name: string): boolean => /^([/\\]|[a-z]:)/i.test(name) || name.split(/[/\\]/).includes('..');
  // eslint-disable-next-line no-control-regex -- a name of a file has none
  if (location === '' || isElsewhere(location) || /[\u0000-\u001f]/.test(location)) {
    throw new FkinvError(
      'MODEL_INVALID',
      `${shown} keeps weights in ${JSON.stringify(location)}, which is no file beside it: export it with its data in its folder`,
    );
  }
  return path.posix.join(path.posix.dirname(graph), location.replaceAll('\\', '/'));
}

/** Where a message stands in the file, and in how many others. */
interface Span {
  start: number;
  end: number;
  depth: number;
}

async function collect(cursor: Cursor, message: string, span: Span, tensors: OnnxTensor[]): Promise<void> {
  if (span.depth > deepest) cursor.refuse();
  if (message === 'tensor') {
    tensors.push(await readTensor(cursor, span));
    return;
  }
  for await (const { field, kind, at, next } of cursor.fields(span.start, span.end)) {
    const inner = kind === wire.bytes ? paths[message]?.[field] : undefined;
    if (inner !== undefined) await collect(cursor, inner, { start: at, end: next, depth: span.depth + 1 }, tensors);
  }
}

async function readTensor(cursor: Cursor, { start, end }: Span): Promise<OnnxTensor> {
  const tensor: OnnxTensor = { name: '', type: 0, dims: [], bytes: 0 };
  const external = new Map<string, string>();
  for await (const { field, kind, at, next, value } of cursor.fields(start, end)) {
    if (field === tensorField.name) tensor.name = await cursor.text(at, next);
    else if (field === tensorField.type) tensor.type = value;
    else if (field === tensorField.dims && kind === wire.varint) tensor.dims.push(value);
    else if (field === tensorField.dims) tensor.dims.push(...(await cursor.varints(at, next)));
    else if (field === tensorField.external) {
      const [key, text] = await readEntry(cursor, at, next);
      external.set(key, text);
    }
  }
  tensor.bytes = Math.ceil((tensor.dims.reduce((product, n) => product * n, 1) * (elementBits[tensor.type] ?? 0)) / 8);
  const location = external.get('location');
  if (location === undefined) return tensor;
  const length = external.get('length');
  const offset = Number(external.get('offset') ?? 0);
  return { ...tensor, external: { location, offset, length: length === undefined ? undefined : Number(length) } };
}

/** A StringStringEntryProto. */
async function readEntry(cursor: Cursor, start: number, end: number): Promise<[key: string, value: string]> {
  const entry: [string, string] = ['', ''];
  for await (const { field, at, next } of cursor.fields(start, end)) {
    if (field === 1 || field === 2) entry[field - 1] = await cursor.text(at, next);
  }
  return entry;
}

/** A field of a message: the bytes of its value are from `at` to `next`. */
interface Field {
  field: number;
  kind: number;
  at: number;
  next: number;
  /** Of a varint. */
  value: number;
}

/** Bytes of the file that are held at a time: graphs have long runs of small fields. */
const windowSize = 2 ** 16;
/** No text or list that is read is longer, in bytes. */
const longest = 2 ** 14;
/** No message stands in more others, as protobuf itself has it. */
const deepest = 100;

/** Reads a protobuf in a file. */
class Cursor {
  #window: Buffer = Buffer.alloc(0);
  #start = 0;

  constructor(
    private readonly file: string,
    private readonly handle: FileHandle,
  ) {}

  /** The fields of the message from `start` to `end`. */
  async *fields(start: number, end: number): AsyncGenerator<Field, void, undefined> {
    for (let position = start; position < end;) {
      const [tag, afterTag] = await this.#varint(position, end);
      const field = { field: Math.floor(tag / 8), kind: tag % 8, at: afterTag, next: afterTag, value: 0 };
      if (field.kind === wire.varint) [field.value, field.next] = await this.#varint(afterTag, end);
      else if (field.kind === wire.fixed64) field.next += 8;
      else if (field.kind === wire.fixed32) field.next += 4;
      else if (field.kind === wire.bytes) {
        const [length, at] = await this.#varint(afterTag, end);
        Object.assign(field, { at, next: at + length });
      } else this.refuse();
      if (field.field === 0 || field.next > end) this.refuse();
      yield field;
      position = field.next;
    }
  }

  async varints(start: number, end: number): Promise<number[]> {
    if (end - start > longest) this.refuse();
    const values: number[] = [];
    for (let position = start; position < end;) {
      const [value, next] = await this.#varint(position, end);
      values.push(value);
      position = next;
    }
    return values;
  }

  async text(start: number, end: number): Promise<string> {
    if (end - start > longest) this.refuse();
    return (await this.#bytes(start, end - start)).toString('utf8');
  }

  /** A varint at `position`, exact up to 2⁵³, and where it ends. */
  async #varint(position: number, end: number): Promise<[value: number, next: number]> {
    const bytes = await this.#bytes(position, Math.min(10, end - position));
    let value = 0;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] ?? 0;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return [value, position + i + 1];
    }
    return this.refuse();
  }

  async #bytes(position: number, length: number): Promise<Buffer> {
    if (position < this.#start || position + length > this.#start + this.#window.length) {
      const { buffer, bytesRead } = await this.handle.read(Buffer.alloc(windowSize), 0, windowSize, position);
      if (bytesRead < length) this.refuse();
      this.#window = buffer.subarray(0, bytesRead);
      this.#start = position;
    }
    return this.#window.subarray(position - this.#start, position - this.#start + length);
  }

  refuse(): never {
    throw new FkinvError('MODEL_INVALID', `${this.file} is no whole ONNX file: fetch or export it again`);
  }
}
