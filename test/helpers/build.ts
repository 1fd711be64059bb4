// The programs of the package's CMakeLists.txt that tests run. A build stays in build/checks for the other files of a run,
// and for the next run: what is compiled once is compiled again where its sources changed, and not before.
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { native, type NativeFileLock } from '../../lib/native/addon';
import { cudaHeaders } from '../cuda/toolkit';
import { root, run } from './child';

/** Waits until no other test, of this process or another, builds in `folder`. */
async function lockOn(folder: string): Promise<NativeFileLock> {
  const file = path.join(folder, 'lock');
  writeFileSync(file, '', { flag: 'a' });
  for (;;) {
    const lock = new native.FileLock(file);
    if (lock.isHeld) return lock;
    lock.release();
    await setTimeout(100);
  }
}

/**
 * Builds `targets`, with sanitizers of GCC if any are named; returns the folder that they are in. Without sanitizers they
 * are compiled as the addon is, with line numbers for valgrind.
 */
export async function build(t: ExecutionContext, targets: string[], sanitize = ''): Promise<string> {
  const at = path.join(root, 'build', 'checks', sanitize === '' ? 'plain' : sanitize.replaceAll(',', '-'));
  mkdirSync(at, { recursive: true });
  const kind =
    sanitize === ''
      ? ['-DCMAKE_BUILD_TYPE=Release', `-DCMAKE_CXX_FLAGS=${process.env['CXXFLAGS'] ?? ''} -g1`]
      : ['-DCMAKE_BUILD_TYPE=RelWithDebInfo', `-DFKINV_SANITIZE=${sanitize}`];
  const cuda = sanitize === '' && cudaHeaders !== undefined ? [`-DFKINV_CUDA_INCLUDE=${cudaHeaders}`] : [];
  const lock = await lockOn(at);
  try {
    const start = performance.now();
    for (const args of [
      ['-S', root, '-B', at, '-DFKINV_CHECK=ON', ...kind, ...cuda],
      ['--build', at, '--parallel', String(availableParallelism()), '--target', ...targets],
    ]) {
      const { code, stdout, stderr } = await run('cmake', args);
      t.is(code, 0, stdout + stderr);
    }
    t.log(`built ${targets.join(', ')}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
  } finally {
    lock.release();
  }
  return at;
}
