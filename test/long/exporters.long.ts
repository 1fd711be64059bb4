// fkinv-export: checkpoints of each family, with random weights and true names, made model folders of and inverted with.
// Needs the registry.
import { statSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Dllm } from '../../lib/models/dllm';
import { ModelFolder } from '../../lib/models/model-folder';
import { passes, run } from '../helpers/child';
import { logitsOf } from '../helpers/dllm-logits';
import { blocksOf } from '../helpers/documents';
import { exporters, withExporters } from '../helpers/exporters';
import { bells, fkinv } from '../helpers/fkinv';
import { loadDemo } from '../helpers/models-demo';

const { folder, python, env } = withExporters();

interface Made {
  folders: string[];
  difference?: number;
}

/** Makes a checkpoint of a family and its folders in each of the types. */
async function make(t: ExecutionContext, family: string, types: string[]): Promise<Made> {
  const script = path.join(exporters, 'tests', 'make_folders.py');
  const { code, stdout, stderr } = await run(python(), [script, family, path.join(folder, family), ...types], env);
  t.log(stderr);
  t.is(code, 0);
  return JSON.parse(stdout) as Made;
}

interface Report {
  ok: boolean;
  kind: string;
  checks: { name: string; ok: boolean; detail: string }[];
}

/** Has `fkinv models` check the folders, and each of them invert a picture. */
async function use(t: ExecutionContext, folders: string[]): Promise<void> {
  const models = await fkinv('models', '--json', ...folders);
  const reports = models.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Report);
  t.is(reports.length, folders.length);
  for (const [i, { ok, kind, checks }] of reports.entries()) {
    t.true(ok, JSON.stringify(checks));
    t.is(kind, 'dllm');
    t.log(`${folders[i] ?? ''}: ${checks.find(({ name }) => name === 'parity')?.detail ?? ''}`);
  }
  const few = ['--particles', '2', '--steps', '4', '--length', '12', '--hints', 'off', '--json'];
  for (const dllm of folders) {
    const { code, stdout, stderr } = await fkinv('invert', bells, '--dllm', dllm, ...few);
    t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    t.not((JSON.parse(stdout) as { prompt: string }).prompt, '');
  }
}

const textFamilies = [
  { family: 'llada', types: ['fp32', 'fp16', 'int8', 'int4'] },
  { family: 'dream', types: ['fp32', 'int8'] },
  { family: 'qwen3-mdlm', types: ['fp32', 'fp16', 'int4'] },
  { family: 'qwen3-bd3lm', types: ['fp32', 'fp16'] },
];

for (const { family, types } of textFamilies) {
  test.serial(`${family}: ${types.join(', ')}`, async (t) => {
    const { folders, difference = NaN } = await make(t, family, types);
    t.log(`from the plain network: ${difference}`);
    t.true(difference < 1e-5);
    await use(t, folders);
  });
}

test.serial('qwen3-bd3lm: what later blocks hold leaves the logits of a block as they are', async (t) => {
  const { engine, clip } = await loadDemo();
  t.teardown(() => engine.dispose());
  const dllm = await Dllm.load(engine, new ModelFolder(path.join(folder, 'qwen3-bd3lm', 'fp32')), clip);
  const row = Array.from({ length: 80 }, (_, i) => 100 + i);
  const altered = (from: number, to: number): number[] => row.map((id, i) => (i >= from && i < to ? id + 500 : id));
  const ofBlock = [32, 40, 63];
  const wanted = await logitsOf(dllm, row, ofBlock);
  t.deepEqual(await logitsOf(dllm, altered(64, 80), ofBlock), wanted);
  t.notDeepEqual(await logitsOf(dllm, altered(62, 63), ofBlock), wanted, 'a block sees itself');
  t.notDeepEqual(await logitsOf(dllm, altered(0, 1), ofBlock), wanted, 'and those before it');
});

test.serial('embeddings that are tied are stored once', (t) => {
  const bytes = (type: string): number =>
    statSync(path.join(folder, 'qwen3-mdlm', type, 'onnx', 'model.onnx.data')).size;
  const table = 151936 * 64;
  for (const [type, size] of Object.entries({ fp32: 4, fp16: 2 })) {
    t.true(bytes(type) > table * size && bytes(type) < table * size * 1.02, `${type}: ${bytes(type)} bytes`);
  }
});

test.serial('the commands of docs/exporters.md', async (t) => {
  const lines = blocksOf('docs/exporters.md').flatMap(({ code }) => code.trim().split('\n'));
  const [install, ...others] = lines.map((line) => line.split(' '));
  t.deepEqual(install, ['pip', 'install', './exporters']); // as it was done before the tests
  const here: Record<string, string> = {
    'LLaDA-8B-Instruct': path.join(folder, 'llada', 'LLaDA-8B-Instruct'),
    llada: path.join(folder, 'of-the-page'),
  };
  for (const line of others) {
    const args = line.map((word) => here[word] ?? word);
    if (args[0] === 'fkinv-export') {
      await passes(t, python(), [path.join(env.PYTHONPATH, 'bin', 'fkinv-export'), ...args.slice(1)], env);
    } else {
      const { code, stderr } = await fkinv(...args.slice(2));
      t.is(code, 0, stderr);
    }
  }
  t.is(others.length, 3);
});

test.serial('the command, on what is no checkpoint', async (t) => {
  const out = path.join(folder, 'none');
  const { code, stdout, stderr } = await run(python(), ['-m', 'fkinv_export.cli', folder, out], env);
  t.deepEqual({ code, stdout }, { code: 1, stdout: '' });
  t.regex(stderr, /^fkinv-export: \S+config\.json cannot be read \([^\n]*\): a checkpoint has it\n$/);
});

test.serial('what is wrong with a checkpoint ends in one line', async (t) => {
  const { code, stderr } = await run(python(), ['-m', 'unittest', 'discover', path.join(exporters, 'tests')], env);
  t.is(code, 0, stderr);
  t.regex(stderr, /Ran \d\d tests/);
});
