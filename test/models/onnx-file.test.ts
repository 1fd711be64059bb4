// Tensors and external data as they are read from ONNX files, without their weights.
import { truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { externalData, tensorsOf } from '../../lib/models/onnx-file';
import { emptyFolder } from '../helpers/store';
import { float16, float32, int64, node, onnxFile, type Tensor } from '../onnx/builder';

function graphWith(constants: Record<string, Tensor>): Uint8Array {
  return onnxFile({
    nodes: [node('Transpose', 'x', 'y', { perm: [1, 0] })],
    inputs: [{ name: 'x', type: 'float32', dims: ['n', 2] }],
    output: { name: 'y', type: 'float32', dims: [2, 'n'] },
    constants,
  });
}

test('each tensor has its name, type, shape, bytes and place', async (t) => {
  const file = path.join(emptyFolder(t), 'model.onnx');
  const large = float32(
    [300, 100],
    Array.from({ length: 30_000 }, (_, i) => i),
  ); // more than is held at a time
  await writeFile(
    file,
    graphWith({
      large,
      half: float16([3], [1, 2, 3]),
      ids: int64([2, 1], [1, 2]),
      elsewhere: { type: 'float32', dims: [7, 9], data: new Uint8Array(), location: 'model.onnx_data' },
    }),
  );
  t.deepEqual(await tensorsOf(file), [
    { name: 'large', type: 1, dims: [300, 100], bytes: 120_000 },
    { name: 'half', type: 10, dims: [3], bytes: 6 },
    { name: 'ids', type: 7, dims: [2, 1], bytes: 16 },
    {
      name: 'elsewhere',
      type: 1,
      dims: [7, 9],
      bytes: 252,
      external: { location: 'model.onnx_data', offset: 0, length: undefined },
    },
  ]);
});

test('external data is named as the folder has it, and must be in it', async (t) => {
  const folder = emptyFolder(t);
  const at = (location: string): Promise<string[]> => {
    const file = path.join(folder, 'model.onnx');
    const tensor: Tensor = { type: 'float32', dims: [1], data: new Uint8Array(), location };
    return writeFile(file, graphWith({ a: tensor, b: tensor, c: float32([1], [1]) })).then(() =>
      externalData(file, 'onnx/model.onnx'),
    );
  };
  t.deepEqual(await at('model.onnx_data'), ['onnx/model.onnx_data']);
  t.deepEqual(await at('./weights/0f8fad5b'), ['onnx/weights/0f8fad5b']);
  for (const location of [
    '../model.onnx_data',
    '/etc/passwd',
    'a/../../b',
    '..\\b',
    'C:\\b',
    'C:b',
    '\\\\host\\b',
    '',
    'a\nb',
  ]) {
    await t.throwsAsync(at(location), {
      code: 'MODEL_INVALID',
      message: `${path.join(folder, 'model.onnx')} keeps weights in ${JSON.stringify(location)}, which is no file beside it: export it with its data in its folder`,
    });
  }
});

test('what is no whole ONNX file is refused', async (t) => {
  const folder = emptyFolder(t);
  const whole = graphWith({
    a: float32(
      [2000],
      Array.from({ length: 2000 }, () => 1),
    ),
  });
  const refused = async (name: string, content: Uint8Array | string): Promise<void> => {
    const file = path.join(folder, name);
    await writeFile(file, content);
    await t.throwsAsync(tensorsOf(file), {
      code: 'MODEL_INVALID',
      message: `${file} is no whole ONNX file: fetch or export it again`,
    });
  };
  await refused('cut.onnx', whole.subarray(0, whole.length - 10));
  await refused('text.onnx', 'version https://git-lfs.github.com/spec/v1');
  await refused('endless.onnx', new Uint8Array(100).fill(0xff));
  // Graphs within graphs: field 7 of a model, then node, attribute, graph over and over.
  let nested: Uint8Array = new Uint8Array();
  for (let depth = 0; depth < 60; depth++) {
    for (const tag of [0x32, 0x2a, 0x0a])
      nested = Buffer.concat([Buffer.from([tag, ...varint(nested.length)]), nested]);
  }
  await refused('deep.onnx', Buffer.concat([Buffer.from([0x3a, ...varint(nested.length)]), nested]));
  const file = path.join(folder, 'cut.onnx');
  await truncate(file, 0);
  t.deepEqual(await tensorsOf(file), []); // an empty message is one
  await t.throwsAsync(tensorsOf(path.join(folder, 'none.onnx')), { code: 'MODEL_NOT_FOUND', message: /^cannot read / });
});

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value % 0x80) + 0x80, ...varint(Math.floor(value / 0x80))];
}
