// ONNX files from Node: the few messages of onnx.proto that a small graph needs, under their own field numbers.
import protobuf from 'protobufjs/light';

/** Element types, by TensorProto.DataType. */
export const elementTypes = { float32: 1, int32: 6, int64: 7, float16: 10, bfloat16: 16 } as const;
export type ElementType = keyof typeof elementTypes;

/** A constant of a graph; `data` is little-endian. */
export interface Tensor {
  type: ElementType;
  dims: number[];
  data: Uint8Array;
  /** The file that has its elements in place of the graph, from its first byte on. */
  location?: string;
}

/** An input or output of a graph; an axis with a name is dynamic. */
export interface Value {
  name: string;
  type: ElementType;
  dims: (number | string)[];
}

/** A node with one output. Attributes are whole numbers or lists of them. */
export interface Node {
  op: string;
  inputs: string[];
  output: string;
  attributes: Record<string, number | number[]>;
}

export interface Graph {
  nodes: Node[];
  inputs: Value[];
  output: Value;
  constants: Record<string, Tensor>;
}

const irVersion = 8;
const opset = 17;
const attributeTypes = { int: 2, ints: 7 };
/** Of a tensor's elements: in another file. */
const external = 1;

const { ModelProto } = protobuf.Root.fromJSON({
  nested: {
    ModelProto: {
      fields: {
        irVersion: { type: 'int64', id: 1 },
        producerName: { type: 'string', id: 2 },
        graph: { type: 'GraphProto', id: 7 },
        opsetImport: { rule: 'repeated', type: 'OperatorSetIdProto', id: 8 },
      },
    },
    OperatorSetIdProto: { fields: { domain: { type: 'string', id: 1 }, version: { type: 'int64', id: 2 } } },
    GraphProto: {
      fields: {
        node: { rule: 'repeated', type: 'NodeProto', id: 1 },
        name: { type: 'string', id: 2 },
        initializer: { rule: 'repeated', type: 'TensorProto', id: 5 },
        input: { rule: 'repeated', type: 'ValueInfoProto', id: 11 },
        output: { rule: 'repeated', type: 'ValueInfoProto', id: 12 },
      },
    },
    NodeProto: {
      fields: {
        input: { rule: 'repeated', type: 'string', id: 1 },
        output: { rule: 'repeated', type: 'string', id: 2 },
        opType: { type: 'string', id: 4 },
        attribute: { rule: 'repeated', type: 'AttributeProto', id: 5 },
      },
    },
    AttributeProto: {
      fields: {
        name: { type: 'string', id: 1 },
        i: { type: 'int64', id: 3 },
        ints: { rule: 'repeated', type: 'int64', id: 8 },
        type: { type: 'int32', id: 20 },
      },
    },
    TensorProto: {
      fields: {
        dims: { rule: 'repeated', type: 'int64', id: 1 },
        dataType: { type: 'int32', id: 2 },
        name: { type: 'string', id: 8 },
        rawData: { type: 'bytes', id: 9 },
        externalData: { rule: 'repeated', type: 'StringStringEntryProto', id: 13 },
        dataLocation: { type: 'int32', id: 14 },
      },
    },
    StringStringEntryProto: { fields: { key: { type: 'string', id: 1 }, value: { type: 'string', id: 2 } } },
    ValueInfoProto: { fields: { name: { type: 'string', id: 1 }, type: { type: 'TypeProto', id: 2 } } },
    TypeProto: {
      fields: { tensorType: { type: 'Tensor', id: 1 } },
      nested: {
        Tensor: { fields: { elemType: { type: 'int32', id: 1 }, shape: { type: 'TensorShapeProto', id: 2 } } },
      },
    },
    TensorShapeProto: {
      fields: { dim: { rule: 'repeated', type: 'Dimension', id: 1 } },
      nested: { Dimension: { fields: { dimValue: { type: 'int64', id: 1 }, dimParam: { type: 'string', id: 2 } } } },
    },
  },
}).nested as { ModelProto: protobuf.Type };

/** A node; `inputs` are names with spaces between. */
export function node(op: string, inputs: string, output: string, attributes: Node['attributes'] = {}): Node {
  return { op, inputs: inputs.split(' '), output, attributes };
}

export function float32(dims: number[], values: Iterable<number>): Tensor {
  return { type: 'float32', dims, data: bytesOf(Float32Array.from(values)) };
}

/** Values are rounded to the nearest; what is smaller than the smallest normal number is 0. */
export function float16(dims: number[], values: Iterable<number>): Tensor {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  return { type: 'float16', dims, data: bytesOf(Uint16Array.from(bits, float16Bits)) };
}

export function int64(dims: number[], values: Iterable<number>): Tensor {
  return { type: 'int64', dims, data: bytesOf(BigInt64Array.from(values, BigInt)) };
}

function bytesOf({ buffer, byteOffset, byteLength }: NodeJS.ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Of the bits of a float32. */
function float16Bits(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  const rounded = ((magnitude + 0xfff + ((magnitude >>> 13) & 1)) >>> 13) - (112 << 10);
  return ((bits >>> 16) & 0x8000) | (rounded < 0x400 ? 0 : rounded);
}

/** The bytes of an .onnx file. */
export function onnxFile({ nodes, inputs, output, constants }: Graph): Uint8Array {
  const model = {
    irVersion,
    producerName: 'test/onnx/builder.ts',
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      name: 'graph',
      node: nodes.map(nodeProto),
      initializer: Object.entries(constants).map(([name, { type, dims, data, location }]) => ({
        name,
        dims,
        dataType: elementTypes[type],
        ...(location === undefined
          ? { rawData: data }
          : { externalData: [{ key: 'location', value: location }], dataLocation: external }),
      })),
      input: inputs.map(valueProto),
      output: [valueProto(output)],
    },
  };
  return ModelProto.encode(ModelProto.create(model)).finish();
}

function nodeProto({ op, inputs, output, attributes }: Node) {
  const attribute = Object.entries(attributes).map(([name, value]) =>
    Array.isArray(value)
      ? { name, ints: value, type: attributeTypes.ints }
      : { name, i: value, type: attributeTypes.int },
  );
  return { input: inputs, output: [output], opType: op, attribute };
}

function valueProto({ name, type, dims }: Value) {
  const dim = dims.map((axis) => (typeof axis === 'number' ? { dimValue: axis } : { dimParam: axis }));
  return { name, type: { tensorType: { elemType: elementTypes[type], shape: { dim } } } };
}
