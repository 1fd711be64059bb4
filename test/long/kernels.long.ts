// The kernels' tests in every instruction set that this processor has, kernels_check.cpp, and what the kernels' objects
// share with the rest of the addon.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { native } from '../../lib/native/addon';
import { instructionSets } from '../../lib/schemes';
import { build } from '../helpers/build';
import { passes, root, run } from '../helpers/child';
import { needs } from '../helpers/needs';

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
  const at = await build(t, ['kernels_check']);
  const stdout = await passes(t, path.join(at, 'kernels_check'), []);
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
