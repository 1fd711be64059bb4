// engine_check.cpp under valgrind, which knows of ONNX Runtime's reads and writes too.
import path from 'node:path';
import test from 'ava';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { build } from '../helpers/build';
import { passes, root } from '../helpers/child';

test('the particles on ONNX Runtime under valgrind', async (t) => {
  const program = path.join(await build(t, ['engine_check']), 'engine_check');
  const options = [
    `--suppressions=${path.join(__dirname, 'valgrind.supp')}`,
    '--error-exitcode=9',
    '--leak-check=full',
    '--errors-for-leak-kinds=definite',
    '--num-callers=40',
    '--quiet',
  ];
  const given = [program, 'models', findOnnxRuntime(), path.join(root, 'models')];
  await passes(t, 'valgrind', [...options, ...given], { ORT_DISABLE_TELEMETRY: '1' });
});
