// engine_check.cpp, under AddressSanitizer and UndefinedBehaviorSanitizer, under ThreadSanitizer, and under valgrind.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { findOnnxRuntime } from '../../lib/onnxruntime';
import { root, run, type Ended } from './child';

const check = path.join(__dirname, 'engine_check.cpp');
const cpp = path.join(root, 'cpp');
const dialect = ['-std=c++20', '-g', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'];
const include = ['-I', cpp, '-isystem', path.join(cpp, 'ort', 'include')];
const models = path.join(root, 'models');

async function build(t: ExecutionContext, file: string, args: string[]): Promise<void> {
  const start = performance.now();
  const { code, stderr } = await run(file, args);
  t.is(code, 0, stderr);
  t.log(`${file} ${args[0] ?? ''}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
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

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(path.join(tmpdir(), 'fkinv-check-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test('the engine under AddressSanitizer and UndefinedBehaviorSanitizer', async (t) => {
  const at = folder(t);
  await build(t, 'cmake', ['-S', root, '-B', at, '-DFKINV_SANITIZE=ON', '-DCMAKE_BUILD_TYPE=RelWithDebInfo']);
  await build(t, 'cmake', ['--build', at, '--parallel', String(availableParallelism())]);
  const program = path.join(at, 'engine_check');
  const sanitize = ['-fsanitize=address,undefined,float-cast-overflow', '-fno-sanitize-recover=all'];
  const library = path.join(at, 'libfkinv_engine.a');
  await build(t, 'g++', [
    check,
    ...dialect,
    '-O1',
    ...sanitize,
    ...include,
    library,
    '-pthread',
    '-ldl',
    '-o',
    program,
  ]);
  const env = { ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1', ORT_DISABLE_TELEMETRY: '1' };
  const ended = await execute(t, program, ['all', findOnnxRuntime(), models], env);
  t.deepEqual(resultOf(ended), passed, ended.stderr);
});

function sources(): string[] {
  const files = ['.', 'kernels', 'ort'].flatMap((part) =>
    readdirSync(path.join(cpp, part)).map((f) => path.join(cpp, part, f)),
  );
  return files.filter((file) => file.endsWith('.cpp'));
}

test('the engine thread and the pool under ThreadSanitizer', async (t) => {
  const program = path.join(folder(t), 'engine_check');
  const flags = [...dialect, '-O1', '-fsanitize=thread', ...include, '-pthread', '-ldl', '-o', program];
  await build(t, 'g++', [check, ...sources(), ...flags]);
  const ended = await execute(t, program, ['threads'], { TSAN_OPTIONS: 'halt_on_error=1' });
  t.deepEqual(resultOf(ended), passed, ended.stderr);
});

test('the particles on ONNX Runtime under valgrind', async (t) => {
  const program = path.join(folder(t), 'engine_check');
  await build(t, 'g++', [check, ...sources(), ...dialect, '-O1', ...include, '-pthread', '-ldl', '-o', program]);
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
