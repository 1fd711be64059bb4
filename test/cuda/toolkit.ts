import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const roots = [process.env['CUDA_HOME'], process.env['CUDA_PATH'], '/usr/local/cuda', '/opt/cuda'];

/** Where the headers of the CUDA toolkit are: what the kernels are emulated with needs nothing else of it. */
export const cudaHeaders = roots
  .map((root) => path.join(root ?? '', 'include'))
  .find((folder) => existsSync(path.join(folder, 'cuda_fp16.h')));

const scripts = pathToFileURL(path.join(__dirname, '..', '..', 'scripts', 'cuda.mjs')).href;
const find = `import('${scripts}').then((cuda) => process.exit(cuda.versionOf(cuda.findNvcc()).fault ? 1 : 0))`;

/** Whether there is an nvcc that the addon can be built with. */
export const hasNvcc = spawnSync(process.execPath, ['--eval', find]).status === 0;
