// The kernels' tests in every instruction set that this processor has, kernels_check.cpp, and what the kernels' objects
// share with the rest of the addon.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { native } from '../../lib/native/addon';
import { instructionSets } from '../../lib/schemes';
import { needs } from '../helpers/needs';
import { root, run } from '../helpers/child';

// Those of the best set are npm test's.
for (const set of instructionSets) {
  const there = native.instructionSets();
  if (set === there.at(-1)) continue;
  needs(there.includes(set), `a processor with ${set}`)(`the kernels' tests pass with ${set}`, async (t) => {
    const ava = path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs');
    const files = ['coupling', 'draw', 'truncation', 'float16'].map((name) => `test/kernels/${name}.test.ts`);
    const env = { ...process.env, FKINV_INSTRUCTION_SET: set };
    const { stdout } = await promisify(execFile)(process.execPath, [ava, ...files], { cwd: root, env });
    t.regex(stdout, /\d+ tests passed/);
  });
}

test('the kernels of every instruction set agree, their 2^x is within its bound, and no inline function of theirs is shared', async (t) => {
  const at = mkdtempSync(path.join(tmpdir(), 'fkinv-kernels-'));
  t.teardown(() => rmSync(at, { recursive: true, force: true }));
  for (const args of [
    ['-S', root, '-B', at, '-DFKINV_CHECK=ON', '-DCMAKE_BUILD_TYPE=Release'],
    ['--build', at, '--target', 'kernels_check', '--parallel', '2'],
  ]) {
    const { code, stderr } = await run('cmake', args);
    t.is(code, 0, stderr);
  }
  const { code, stdout, stderr } = await run(path.join(at, 'kernels_check'), []);
  for (const line of stdout.trim().split('\n')) t.log(line);
  t.is(code, 0, stderr);
  for (const set of instructionSets) {
    if (!stdout.includes(`${set}: 2^x`)) t.log(`${set}: not run, this processor has no such instructions`);
  }
  if (!stdout.includes('emulated: 2^x')) t.log('AVX-512 emulated: not run, it needs SIMDe (on Debian libsimde-dev)');

  // A weak symbol is an inline function: the linker keeps one of them all, for all processors.
  if (process.arch !== 'x64') return;
  for (const set of instructionSets.slice(1)) {
    const object = path.join(at, `CMakeFiles/fkinv_${set}.dir/cpp/kernels/vectorised/instruction_set.cpp.o`);
    const symbols = await run('nm', ['-C', object]);
    t.is(symbols.code, 0, symbols.stderr);
    t.deepEqual(
      symbols.stdout.split('\n').filter((line) => / [uVvWw] /.test(line)),
      [],
      set,
    );
  }
});
