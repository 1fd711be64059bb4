// engine_check.cpp under AddressSanitizer and UndefinedBehaviorSanitizer, and under ThreadSanitizer.
import path from 'node:path';
import test from 'ava';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { build } from '../helpers/build';
import { passes, root } from '../helpers/child';

test('the engine under AddressSanitizer and UndefinedBehaviorSanitizer', async (t) => {
  const at = await build(t, ['engine_check'], 'address,undefined,float-cast-overflow');
  const env = { ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1', ORT_DISABLE_TELEMETRY: '1' };
  await passes(t, path.join(at, 'engine_check'), ['all', findOnnxRuntime(), path.join(root, 'models')], env);
});

test('the engine thread and the pool under ThreadSanitizer', async (t) => {
  const at = await build(t, ['engine_check'], 'thread');
  await passes(t, path.join(at, 'engine_check'), ['threads'], { TSAN_OPTIONS: 'halt_on_error=1' });
});
