// npm run prebuild: the addon for this platform in prebuilds/, where the tarball takes it from. It is built in a folder of
// its own, so that a developer's build/Release stays what it was.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import prebuildify from 'prebuildify';

const scripts = path.dirname(fileURLToPath(import.meta.url));
const root = path.dirname(scripts);
const workspace = path.join(root, 'build', 'prebuild');
const builder = path.join(scripts, 'prebuild-build.mjs');
const quoted = (text) => `"${text}"`;

mkdirSync(workspace, { recursive: true });
await promisify(prebuildify)({
  name: 'fkinv-native',
  napi: true,
  targets: [],
  tagLibc: process.platform === 'linux',
  strip: true,
  cwd: workspace, // it takes the addon from build/Release in here
  out: root,
  nodeGyp: process.platform === 'win32' ? `${quoted(process.execPath)} ${quoted(builder)}` : builder, // by a shell there
});

const { status } = spawnSync(process.execPath, [path.join(scripts, 'glibc.mjs')], { stdio: 'inherit' });
process.exitCode = status ?? 1;
