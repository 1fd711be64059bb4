// engine_check.cpp, under AddressSanitizer and UndefinedBehaviorSanitizer, under ThreadSanitizer, and under valgrind.
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { root, run, type Ended } from '../helpers/child';

const models = path.join(root, 'models');

/** Builds engine_check from the package's own CMakeLists.txt; returns the program. */
async function build(t: ExecutionContext, sanitize = ''): Promise<string> {
  const at = mkdtempSync(path.join(tmpdir(), 'fkinv-check-'));
  t.teardown(() => rmSync(at, { recursive: true, force: true }));
  const start = performance.now();
  const flags = ['-DFKINV_CHECK=ON', `-DFKINV_SANITIZE=${sanitize}`, '-DCMAKE_BUILD_TYPE=RelWithDebInfo'];
  for (const args of [
    ['-S', root, '-B', at, ...flags],
    ['--build', at, '--target', 'engine_check', '--parallel', String(availableParallelism())],
  ]) {
    const { code, stderr } = await run('cmake', args);
    t.is(code, 0, stderr);
  }
  t.log(`built with ${sanitize || 'no sanitizer'}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
  return path.join(at, 'engine_check');
}

async function execute(t: ExecutionContext, file: string, args: string[], env = {}): Promise<Ended> {
  const start = performance.now();
  const ended = await run(file, args, env);
  for (const line of ended.stdout.trim().split('\n')) t.log(line);
  t.log(`${((performance.now() - start) / 1000).toFixed(1)} s`);
  return ended;
}

const passed = { code: 0, signal: null };
const resultOf = ({ code, signal }: Ended): object => ({ code, signal });

test('the engine under AddressSanitizer and UndefinedBehaviorSanitizer', async (t) => {
  const program = await build(t, 'address,undefined,float-cast-overflow');
  const env = { ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1', ORT_DISABLE_TELEMETRY: '1' };
  const ended = await execute(t, program, ['all', findOnnxRuntime(), models], env);
  t.deepEqual(resultOf(ended), passed, ended.stderr);
});

test('the engine thread and the pool under ThreadSanitizer', async (t) => {
  const program = await build(t, 'thread');
  const ended = await execute(t, program, ['threads'], { TSAN_OPTIONS: 'halt_on_error=1' });
  t.deepEqual(resultOf(ended), passed, ended.stderr);
});

test('the particles on ONNX Runtime under valgrind', async (t) => {
  const program = await build(t);
  const suppressions = `--suppressions=${path.join(__dirname, 'valgrind.supp')}`;
  const options = [
    suppressions,
    '--error-exitcode=9',
    '--leak-check=full',
    '--errors-for-leak-kinds=definite',
    '--num-callers=40',
    '--quiet',
  ];
  const ended = await execute(t, 'valgrind', [...options, program, 'models', findOnnxRuntime(), models], {
    ORT_DISABLE_TELEMETRY: '1',
  });
  t.deepEqual(resultOf(ended), passed, ended.stderr);
});
