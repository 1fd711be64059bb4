// npm run prebuild: prebuilds/<platform>-<arch>/fkinv-native[.<libc>].node, and what it asks of the machine that loads
// it. It is built in a folder of its own: build/Release is the developer's.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import prebuildify from 'prebuildify';

const scripts = path.dirname(fileURLToPath(import.meta.url));
const root = path.dirname(scripts);
const workspace = path.join(root, 'build', 'prebuild');
const builder = path.join(scripts, 'prebuild-cmake.mjs');

mkdirSync(workspace, { recursive: true });
await promisify(prebuildify)({
  cwd: workspace,
  out: root,
  cache: workspace, // else an empty folder stays in the temporary one
  name: 'fkinv-native',
  napi: true,
  strip: true,
  tagLibc: process.platform === 'linux', // elsewhere prebuildify would write glibc
  // prebuildify starts it through the shell on Windows, where a script is no program, and as a program elsewhere.
  nodeGyp: process.platform === 'win32' ? `"${process.execPath}" "${builder}"` : builder,
});
rmSync(workspace, { recursive: true });
execFileSync(process.execPath, [path.join(scripts, 'glibc.mjs')], { stdio: 'inherit' });
