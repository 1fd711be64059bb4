// @huggingface/transformers in the process of an Inverter, with an ONNX Runtime of another release than ours. Needs the registry.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { runScript, run } from '../helpers/child';
import { shippedOnnxRuntime } from '../../lib/native/onnxruntime';

const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-transformers-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

test.before(async (t) => {
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
  // The first release whose ONNX Runtime is newer than ours.
  const install = ['install', '--ignore-scripts', '--prefix', folder, '@huggingface/transformers@4.3.2'];
  const { code, stderr } = await run('npm', install);
  t.is(code, 0, stderr);
});

const own = process.platform === 'win32' ? ['transformers'] : ['fkinv', 'transformers'];
for (const where of ['main', 'worker']) {
  for (const first of own) {
    test.serial(`each on its own release, ${first} first, transformers in the ${where} thread`, async (t) => {
      const { code, stdout, stderr } = await runScript('transformers.cjs', [folder, first, where]);
      t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
      t.deepEqual(JSON.parse(stdout), { results: 1, prompts: 1, libraries: process.platform === 'linux' ? 2 : 0 });
    });
  }
}

for (const first of ['fkinv', 'transformers']) {
  test.serial(`both on the newer release, which FKINV_ONNXRUNTIME names, ${first} first`, async (t) => {
    const file = shippedOnnxRuntime(process.platform, process.arch, null);
    const env = { FKINV_ONNXRUNTIME: path.join(folder, 'node_modules', 'onnxruntime-node', file) };
    const { code, stdout, stderr } = await runScript('transformers.cjs', [folder, first, 'main'], [], env);
    t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    t.deepEqual(JSON.parse(stdout), { results: 1, prompts: 1, libraries: process.platform === 'linux' ? 1 : 0 });
  });
}
