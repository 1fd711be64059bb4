#!/usr/bin/env node
// What prebuildify takes for node-gyp: builds the addon with cmake-js, into build/ of the folder it is called in. Of
// node-gyp's arguments only the architecture means something here: a Node-API addon has no Node version.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cmakeOptions, cudaToShip } from './cuda.mjs';

const require = createRequire(import.meta.url);
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const cuda = cudaToShip();
if (cuda.fault !== undefined) {
  console.error(`npm run prebuild: ${cuda.fault}. FKINV_CUDA=0 builds for the CPU only.`);
  process.exit(1);
}
const architecture = process.argv.filter((argument) => argument.startsWith('--arch='));
const places = ['--directory', root, '--out', path.resolve('build')];
const parallel = ['--parallel', String(availableParallelism())];
const options = [...places, ...parallel, ...architecture, '--CDFKINV_PREBUILD=ON', ...cmakeOptions(cuda)];
try {
  execFileSync(process.execPath, [require.resolve('cmake-js/bin/cmake-js'), 'rebuild', ...options], {
    stdio: 'inherit',
  });
} catch (error) {
  process.exit(error.status ?? 1); // the compiler has said why
}
