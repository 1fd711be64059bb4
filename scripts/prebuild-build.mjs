#!/usr/bin/env node
// What prebuildify calls in place of node-gyp, in the folder where it looks for build/Release: cmake-js, with libstdc++ linked
// statically. Node-API's headers come with cmake-js, so the Node version that prebuildify names does not matter.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const folders = ['--directory', root, '--out', path.resolve('build')];
const flags = ['--CDFKINV_STATIC_RUNTIME=ON', '--parallel', String(availableParallelism())];
execFileSync(process.execPath, [cmakeJs, 'rebuild', ...folders, ...flags], { stdio: 'inherit' });
