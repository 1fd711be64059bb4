// The CUDA kernels as nvcc compiles them, for every GPU that a package is built for.
import path from 'node:path';
import { hasNvcc } from './toolkit';
import { needs } from '../helpers/needs';
import { root, run } from '../helpers/child';

needs(hasNvcc, 'nvcc of CUDA 13')(
  'docs/cuda-registers.md is what nvcc says of every kernel, none of which spills on sm_80, 86, 89 and 90',
  async (t) => {
    const script = path.join(root, 'scripts', 'cuda-registers.mjs');
    const { code, stdout, stderr } = await run(process.execPath, [script, '--check']);
    t.log(stdout.trim());
    t.is(code, 0, stderr);
  },
);
