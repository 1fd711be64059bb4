// `fkinv models pull`, `list` and `rm`, and names of the Hub in the other commands, against a server that speaks its protocol.
import { readdirSync, writeFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { blocksUnder, makeWorkspace } from '../helpers/documents';
import { bells, fkinvIn, node, quick, root, type Outcome } from '../helpers/fkinv';
import { emptyFolder, fixtures, openStore, type Store } from '../helpers/store';
import type { Repository } from '../helpers/hub';

const clip: Repository = { folder: path.join(fixtures, 'clip'), licence: 'mit' };
const dllm: Repository = { folder: path.join(fixtures, 'dllm') };
const graph = (name: string): Promise<Buffer> => readFile(path.join(fixtures, 'clip', name));

interface Command extends Store {
  fkinv: (...args: string[]) => Promise<Outcome>;
  env: NodeJS.ProcessEnv;
}

async function open(t: ExecutionContext, repositories: Record<string, Repository>): Promise<Command> {
  const store = await openStore(t, repositories);
  const env = {
    HF_ENDPOINT: store.hub.endpoint,
    HF_HUB_CACHE: store.cache,
    HF_HOME: emptyFolder(t),
    HF_TOKEN: '',
    HF_HUB_OFFLINE: '',
  };
  return { ...store, env, fkinv: (...args) => fkinvIn(env, ...args) };
}

test('the commands of docs/models.md: a pull, the list, a removal', async (t) => {
  const name = 'Xenova/clip-vit-base-patch32';
  const files = {
    'onnx/vision_model_quantized.onnx': await graph('vision_model.onnx'),
    'onnx/text_model_quantized.onnx': await graph('text_model.onnx'),
    'README.md': '---\ntags:\n- clip\nlicense: mit\n---\nA CLIP.\n',
  };
  const { fkinv, hub, at, env } = await open(t, { [name]: { ...clip, files } });
  const [block = t.fail(), script = t.fail()] = blocksUnder('docs/models.md', 'Models of the Hugging Face Hub');
  const lines = block.code
    .trim()
    .split('\n')
    .map((line) => line.replace('npx fkinv ', '').split(' '));
  const [pull = t.fail(), list = t.fail(), remove = t.fail()] = lines;
  const folder = at('models--Xenova--clip-vit-base-patch32', 'snapshots', hub.commitOf(name));
  const pulled = await fkinv(...pull);
  t.deepEqual({ code: pulled.code, stdout: pulled.stdout }, { code: 0, stdout: `${folder}\n` });
  const [plan = '', ...fetched] = pulled.stderr.trim().split('\n');
  t.regex(
    plan,
    /^hf:Xenova\/clip-vit-base-patch32: q8 \(there is fp32 too\), licence mit; 3\.0 kB, \d+ \wB of disk free; 785 bytes of memory at least, \d+ GB there$/,
  );
  t.deepEqual(fetched.map((line) => line.replace(/, .*/, '')).sort(), [
    'fetched README.md',
    'fetched config.json',
    'fetched onnx/text_model_quantized.onnx',
    'fetched onnx/vision_model_quantized.onnx',
    'fetched preprocessor_config.json',
    'fetched tokenizer.json',
    'fetched tokenizer_config.json',
  ]);
  const { stdout } = await fkinv(...list);
  t.regex(
    stdout,
    new RegExp(
      `^hf:Xenova/clip-vit-base-patch32 \\(q8\\) +3.0 kB +\\d{4}-\\d\\d-\\d\\d +mit +main ${hub.commitOf(name).slice(0, 8)}$`,
      'm',
    ),
  );
  t.regex(stdout, /^hf:naklitechie\/Qwen3-0\.6B-diffusion-mdlm-ONNX +fp16 1\.5 GB, q4f16 700 MB +Apache-2\.0$/m);
  const removed = await fkinv(...remove);
  t.deepEqual(removed, { code: 0, stdout: '', stderr: 'removed hf:Xenova/clip-vit-base-patch32:q8, 785 bytes\n' });
  t.deepEqual(await readdir(path.join(folder, 'onnx')), []);
  t.regex((await fkinv('models', 'list')).stdout, /clip-vit-base-patch32 \(in part\)/);
  const file = path.join(makeWorkspace('models-store'), 'pull.cjs');
  writeFileSync(file, script.code);
  const called = await node([file], env);
  t.is(called.stdout, `fp32, 2985 bytes, in ${folder}\n`);
  t.regex(called.stderr, /^vision_model.onnx: 785 of 785 bytes$/m);
  t.is((await fkinv('models', 'rm', `hf:${name}`)).code, 0);
  t.deepEqual(await readdir(at('.')), ['.locks']);
});

test('names stand wherever a folder may, and are not fetched by themselves', async (t) => {
  const { fkinv, hub } = await open(t, { 'org/clip': clip, 'org/dllm': dllm });
  const names = ['--dllm', 'hf:org/dllm', '--clip', 'hf:org/clip', '--device', 'cpu'];
  const inverting = ['invert', bells, ...names, ...quick, '--quiet'];
  const missing = await fkinv(...inverting);
  t.deepEqual({ code: missing.code, stdout: missing.stdout }, { code: 1, stdout: '' });
  t.regex(
    missing.stderr,
    /^error: hf:org\/dllm is not on this machine \(\S+\): npx fkinv models pull hf:org\/dllm \(MODEL_NOT_FOUND\)\n$/,
  );
  t.is(hub.requests.length, 0);
  const folders = ['--dllm', path.join(fixtures, 'dllm'), '--clip', path.join(fixtures, 'clip'), '--device', 'cpu'];
  const expected = await fkinv('invert', bells, ...folders, ...quick, '--quiet');
  const fetched = await fkinv(...inverting, '--download');
  t.deepEqual(fetched, { ...expected, stderr: '' });
  t.deepEqual(await fkinv(...inverting), { ...expected, stderr: '' });
  const checked = await fkinv('models', 'check', 'hf:org/dllm', 'hf:org/clip', '--device', 'cpu');
  t.is(checked.code, 0, checked.stdout);
  t.regex(checked.stdout, /✓ inversion/);
  t.deepEqual((await fkinv('models', 'hf:org/dllm', 'hf:org/clip', '--device', 'cpu')).code, 0);
  const doctor = await fkinv('doctor', ...names);
  t.is(doctor.code, 0, doctor.stdout);
  t.is((await fkinv('doctor', '--plan', ...names)).code, 0);
  t.is((await fkinv('profile', bells, ...names, ...quick)).code, 0);
  const absent = await fkinv('models', 'check', 'hf:org/other');
  t.is(absent.code, 1);
  t.regex(
    absent.stdout,
    /✗ kind +hf:org\/other is not on this machine \(.*\): npx fkinv models pull hf:org\/other \(MODEL_NOT_FOUND\)/,
  );
  t.is((await fkinv('doctor', '--clip', 'hf:org/other')).code, 1);
});

test('Inverter.load fetches what is not there where it is told to, and never otherwise', async (t) => {
  const { env, hub } = await open(t, { 'org/clip': clip, 'org/dllm': dllm });
  const script = `const { Inverter } = require('fkinv-native');
    const models = { clip: 'hf:org/clip', dllm: 'hf:org/dllm', device: 'cpu' };
    async function main() {
      const error = await Inverter.load(models).catch(({ code }) => code);
      await (await Inverter.load({ ...models, download: true })).dispose();
      await (await Inverter.load(models)).dispose();
      console.log(error);
    }
    main();`;
  const file = path.join(makeWorkspace('models-load'), 'load.cjs');
  writeFileSync(file, script);
  t.deepEqual(await node([file], env), { code: 0, stdout: 'MODEL_NOT_FOUND\n', stderr: '' });
  t.is(hub.requests.filter(({ path: name }) => name.includes('/revision/')).length, 2);
});

test('what is wrong with a name or a repository is one line, and exit code 2 or 1', async (t) => {
  const { fkinv } = await open(t, { 'org/torch': { files: { 'model.safetensors': 'weights', 'config.json': '{}' } } });
  const usage = await fkinv('models', 'pull', 'hf:org/torch', 'org/dllm');
  t.is(usage.code, 2);
  t.regex(usage.stderr, /^error: org\/dllm: it does not begin with hf: \(.+\) \(INVALID_OPTION\)\n$/);
  const refused = await fkinv('models', 'pull', 'hf:org/torch');
  t.is(refused.code, 1);
  t.regex(
    refused.stderr,
    /^error: org\/torch is no model that can be loaded: [^\n]+ exported first \(MODEL_NOT_FOUND\)\n$/,
  );
  const escaping = await fkinv('invert', bells, '--dllm', 'hf:../dllm');
  t.is(escaping.code, 2);
  t.regex(
    escaping.stderr,
    /^error: options of load: dllm: hf:\.\.\/dllm: no part of it may have \.\. [^\n]+ \(INVALID_OPTION\)\n$/,
  );
  t.regex((await fkinv('models', 'rm', 'hf:org/none')).stderr, /^error: hf:org\/none is not on this machine /);
  t.regex((await fkinv('models', 'list', '--jsn')).stderr, /unknown option '--jsn' \(did you mean --json\?\)/);
  t.regex((await fkinv('help', 'models', 'pull')).stdout, /^Usage: fkinv models pull /);
});

test('Ctrl-C ends a pull in good order, and the next one goes on', async (t) => {
  const { hub, env, at, fkinv } = await open(t, { 'org/dllm': dllm });
  hub.fault = (request) => (request.at === 'files' ? { cutAfter: 700, slow: 60_000 } : undefined);
  const { spawn } = await import('node:child_process');
  const cli = path.join(root, 'dist', 'cli.js');
  const child = spawn(process.execPath, [cli, 'models', 'pull', 'hf:org/dllm'], { env: { ...process.env, ...env } });
  let stderr = '';
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  while (!hub.requests.some((request) => request.at === 'files'))
    await new Promise((resolve) => setTimeout(resolve, 50));
  const blobs = (): string[] =>
    readdirSync(at('models--org--dllm', 'blobs')).filter((name) => name.endsWith('.incomplete'));
  while (blobs().length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  child.kill('SIGINT');
  const [code] = (await once(child, 'close')) as [number];
  t.is(code, 130);
  t.regex(stderr, /\ninterrupted\n$/);
  t.is(blobs().length, 1);
  hub.fault = () => undefined;
  t.is((await fkinv('models', 'pull', 'hf:org/dllm')).code, 0);
  t.is(blobs().length, 0);
});

test('offline, what is there is used and nothing is asked for', async (t) => {
  const { env, hub, fkinv } = await open(t, { 'org/clip': clip, 'org/dllm': dllm });
  await fkinv('models', 'pull', 'hf:org/dllm');
  const before = hub.requests.length;
  const offline = { ...env, HF_HUB_OFFLINE: '1' };
  t.is((await fkinvIn(offline, 'models', 'pull', 'hf:org/dllm')).code, 0);
  const missing = await fkinvIn(offline, 'models', 'pull', 'hf:org/clip');
  t.is(missing.code, 1);
  t.regex(
    missing.stderr,
    /^error: hf:org\/clip is not on this machine \(.*\): HF_HUB_OFFLINE is set, unset it to fetch it \(MODEL_NOT_FOUND\)\n$/,
  );
  t.is(hub.requests.length, before);
});

test('a proxy that the environment names is gone through', async (t) => {
  const { env, hub } = await open(t, { 'org/clip': clip });
  const targets: string[] = [];
  const proxy = createServer().on('connect', (request: IncomingMessage, socket, head: Buffer) => {
    targets.push(request.url ?? '');
    // Whatever name the Hub has, it is the one of this test; the address of files is their own.
    const [host = '', port = ''] = (request.url ?? '').split(':');
    const to = connect(host === 'hub.invalid' ? Number(new URL(hub.endpoint).port) : Number(port), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      to.write(head);
      to.pipe(socket).pipe(to);
    });
    for (const each of [to, socket]) each.on('error', () => undefined);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.teardown(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const through = { ...env, HF_ENDPOINT: 'http://hub.invalid', http_proxy: address, no_proxy: '' };
  const { code, stderr } = await fkinvIn(through, 'models', 'pull', 'hf:org/clip');
  t.is(code, 0, stderr);
  t.true(targets.includes('hub.invalid:80'));
  t.true(targets.some((target) => target.startsWith('127.0.0.1:')));
});
