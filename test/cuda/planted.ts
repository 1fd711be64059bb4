// What the emulator of the CUDA kernels finds (cuda/planted.cu); the kernels themselves run on it by npm run test:cuda.
import path from 'node:path';
import { cudaHeaders } from './toolkit';
import { build } from '../helpers/build';
import { run } from '../helpers/child';
import { needs } from '../helpers/needs';

const place = String.raw`kernel shift<bug>, block \(\d, 0, 0\), thread \(\d+, 0, 0\)`;
const outside = (access: string): RegExp =>
  new RegExp(
    String.raw`(heap-buffer-overflow|global-buffer-overflow|use-after-poison)[^]*${access} of size 4[^]*in ${place}`,
  );
const unwritten = /^the result depends on what memory began as$/m;
const unordered = /^the result depends on the order$/m;

const bugs: [bug: string, foundAs: RegExp][] = [
  ['readsBeyondGlobal', outside('READ')],
  ['writesBeyondGlobal', outside('WRITE')],
  ['readsBeyondShared', outside('READ')],
  ['writesBeyondDynamicShared', outside('WRITE')],
  ['unaligned', new RegExp(`in ${place}[^]*store to misaligned address`)],
  ['readsUnwrittenShared', unwritten],
  ['readsUnwrittenGlobal', unwritten],
  ['noWaitForCopy', unwritten],
  ['noBarrier', unordered],
  ['noBarrierBeforeReuse', unordered],
  ['noWarpBarrier', unordered],
  ['barrierForSome', new RegExp(`^${place}: waits at .* for __syncthreads, to which 63 of 64 threads came`)],
  ['laneMissing', new RegExp(`^${place}: waits at .* for a shuffle of the lanes ffffffff, of which ffffff7f came`)],
];

needs(cudaHeaders !== undefined, 'the headers of the CUDA toolkit')(
  'the emulator of the CUDA kernels finds each planted bug, and none where there is none',
  async (t) => {
    const program = path.join(await build(t, ['cuda_planted']), 'cuda_planted');
    const none = await run(program, ['none']);
    t.like(none, { code: 0, stdout: '', stderr: '' });
    for (const [bug, foundAs] of bugs) {
      const { code, stdout, stderr } = await run(program, [bug]);
      t.is(code, 1, bug);
      t.regex(stdout + stderr, foundAs, bug);
    }
  },
);
