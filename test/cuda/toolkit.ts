import { existsSync } from 'node:fs';
import path from 'node:path';

const roots = [process.env['CUDA_HOME'], process.env['CUDA_PATH'], '/usr/local/cuda', '/opt/cuda'];

/** Where the headers of the CUDA toolkit are: what the kernels are emulated with needs nothing else of it. */
export const cudaHeaders = roots
  .map((root) => path.join(root ?? '', 'include'))
  .find((folder) => existsSync(path.join(folder, 'cuda_fp16.h')));
