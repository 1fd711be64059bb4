// The cache as Python's library lays it out: what it fetched is used, what it fetched in part is told of, and what is removed.
import { createHash } from 'node:crypto';
import { existsSync, symlinkSync } from 'node:fs';
import { cp, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FkinvError, type ErrorCode } from '../../lib/errors';
import { Inverter } from '../../lib/inverter';
import { parseHubName } from '../../lib/models/model-name';
import { CachedRepository } from '../../lib/store/cache';
import { cachedModel, openCached } from '../../lib/store/cached-model';
import { planRemoval, storedModels } from '../../lib/store/inventory';
import type { StoreSettings } from '../../lib/store/settings';
import { contentsOf, emptyFolder, fixtures, openStore } from '../helpers/store';
import { onnxFile, type Tensor } from '../onnx/builder';

const commit = '0123456789abcdef0123456789abcdef01234567';

/** A cache in which Python's library put `files` of org/model, as its branch main; a file without content is a link to nothing. */
async function pythonCache(
  t: ExecutionContext,
  files: Record<string, Buffer | string | undefined>,
): Promise<StoreSettings & { root: string; snapshot: string }> {
  const cache = emptyFolder(t);
  const root = path.join(cache, 'models--org--model');
  for (const folder of ['blobs', 'refs', 'snapshots']) await mkdir(path.join(root, folder), { recursive: true });
  await writeFile(path.join(root, 'refs', 'main'), commit);
  const snapshot = path.join(root, 'snapshots', commit);
  for (const [name, content] of Object.entries(files)) {
    const blob = createHash('sha256')
      .update(content ?? name)
      .digest('hex');
    const file = path.join(snapshot, name);
    await mkdir(path.dirname(file), { recursive: true });
    if (content !== undefined) await writeFile(path.join(root, 'blobs', blob), content);
    symlinkSync(path.relative(path.dirname(file), path.join(root, 'blobs', blob)), file);
  }
  // What Python's library leaves beside: a partial of its own, and its locks.
  await writeFile(path.join(root, 'blobs', `${'a'.repeat(64)}.incomplete`), 'half');
  await mkdir(path.join(cache, '.locks', 'models--org--model'), { recursive: true });
  return { endpoint: 'http://127.0.0.1:1', cache, token: undefined, isOffline: false, root, snapshot };
}

async function filesOf(kind: 'clip' | 'dllm'): Promise<Record<string, Buffer>> {
  const folder = path.join(fixtures, kind);
  const files: Record<string, Buffer> = {};
  for (const name of await readdir(folder)) files[name] = await readFile(path.join(folder, name));
  return files;
}

const weights = (location: string): Tensor => ({ type: 'float32', dims: [4], data: new Uint8Array(), location });
/** A graph that has its weights at `location`. */
function externalGraph(location: string): Buffer {
  const output = { name: 'w', type: 'float32', dims: [4] } as const;
  return Buffer.from(
    onnxFile({ nodes: [], inputs: [], output: { ...output, dims: [4] }, constants: { w: weights(location) } }),
  );
}

test("what Python's library fetched is used as it is", async (t) => {
  const settings = await pythonCache(t, { ...(await filesOf('clip')), 'onnx/extra.bin': 'of another program' });
  const model = await cachedModel(settings, parseHubName('hf:org/model'), 'cpu');
  t.like(model, { kind: 'clip', commit, variant: 'fp32', folder: settings.snapshot });
  const folder = await openCached(settings, parseHubName(`hf:org/model@${commit}`), 'cpu');
  t.is(folder.repository, 'org/model');
  const inverter = await Inverter.load({ clip: folder.path, dllm: path.join(fixtures, 'dllm'), device: 'cpu' });
  await inverter.dispose();
});

test('external data that is a link to a blob is loaded, though its target is elsewhere', async (t) => {
  const data = Buffer.from(Float32Array.from([1, 2, 3, 4]).buffer);
  const settings = await pythonCache(t, {
    ...(await filesOf('dllm')),
    'model.onnx': undefined,
    'onnx/model.onnx': externalGraph('0f8fad5b'),
    'onnx/0f8fad5b': data,
  });
  const { files, data: names } = await cachedModel(settings, parseHubName('hf:org/model'), 'cpu');
  t.deepEqual(names, ['onnx/0f8fad5b']);
  t.deepEqual([...files].sort(), [
    'config.json',
    'onnx/0f8fad5b',
    'onnx/model.onnx',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
});

async function fails(
  t: ExecutionContext,
  files: Record<string, Buffer | string | undefined>,
  code: ErrorCode,
  message: RegExp,
  name = 'hf:org/model',
): Promise<void> {
  const settings = await pythonCache(t, files);
  const error = await t.throwsAsync(cachedModel(settings, parseHubName(name), 'cpu'), { instanceOf: FkinvError, code });
  t.regex(error.message, message);
  t.notRegex(error.message, /\n/);
}

const remedy = ': npx fkinv models pull hf:org/model';

test('a cache that has a model in part is told of, with the command that fetches the rest', async (t) => {
  const dllm = await filesOf('dllm');
  const inPart = /^hf:org\/model is there in part, or is no model \(in \S+, .+\): npx fkinv models pull hf:org\/model$/;
  await fails(t, { ...dllm, 'model.onnx': undefined }, 'MODEL_NOT_FOUND', inPart); // a link whose blob is not there yet
  await fails(t, { ...dllm, 'tokenizer.json': undefined }, 'MODEL_NOT_FOUND', inPart);
  await fails(t, { 'README.md': 'text' }, 'MODEL_NOT_FOUND', inPart);
  const clip = await filesOf('clip');
  await fails(t, { ...clip, 'vision_model.onnx': undefined }, 'MODEL_NOT_FOUND', inPart);
  await fails(
    t,
    clip,
    'MODEL_NOT_FOUND',
    /has no variant q8; it has fp32\): npx fkinv models pull hf:org\/model:q8$/,
    'hf:org/model:q8',
  );
  await fails(
    t,
    { ...dllm, 'model.onnx': externalGraph('model.onnx_data'), 'model.onnx_data': undefined },
    'MODEL_NOT_FOUND',
    new RegExp(`^hf:org/model is there in part \\(\\S+model.onnx_data is missing\\)${remedy}$`),
  );
  await fails(t, {}, 'MODEL_NOT_FOUND', new RegExp(`^hf:org/model is not on this machine \\(\\S+\\)${remedy}$`));
  await fails(t, dllm, 'MODEL_NOT_FOUND', /^hf:org\/model@v2 is not on this machine .+@v2$/, 'hf:org/model@v2');
});

test('a manifest or a graph that leads out of its folder is refused', async (t) => {
  const dllm = await filesOf('dllm');
  for (const graph of ['../../model.onnx', '/etc/passwd', 'onnx/../../x.onnx']) {
    const manifest = JSON.stringify({ graph, maskId: 1 });
    await fails(
      t,
      { ...dllm, 'fkinv.json': manifest },
      'MODEL_INVALID',
      /^fkinv.json of org\/model: graph: must be a file in the folder$/,
    );
  }
  await fails(t, { ...dllm, 'fkinv.json': '{ graph' }, 'MODEL_INVALID', /^fkinv.json of org\/model is not JSON: /);
  await fails(t, { ...dllm, 'fkinv.json': '[1]' }, 'MODEL_INVALID', /^fkinv.json of org\/model/);
  for (const location of ['../../secret', '/etc/passwd', 'C:\\secret']) {
    await fails(
      t,
      { ...dllm, 'model.onnx': externalGraph(location) },
      'MODEL_INVALID',
      /model.onnx keeps weights in "[^"]+", which is no file beside it: export it with its data in its folder$/,
    );
  }
});

test('a repository whose manifest or graph leads out of its folder is not fetched', async (t) => {
  const files = { 'model.onnx': externalGraph('../blobs/other'), 'model.onnx_data': 'data' };
  const { pull, at } = await openStore(t, {
    'org/manifest': { folder: path.join(fixtures, 'dllm'), files: { 'fkinv.json': '{ "graph": "../x.onnx" }' } },
    'org/names': { folder: path.join(fixtures, 'dllm'), files: { 'fkinv.json': '{ "graph": "x.onnx" }' } },
    'org/graph': { folder: path.join(fixtures, 'dllm'), files },
    'org/lost': { folder: path.join(fixtures, 'dllm'), files: { ...files, 'model.onnx': externalGraph('lost.bin') } },
    'org/torch': { files: { 'model.safetensors': 'weights', 'config.json': '{}' } },
    'org/tokenless': { files: { 'model.onnx': 'graph' } },
  });
  const refused = async (name: string, code: ErrorCode, message: string | RegExp): Promise<void> => {
    await t.throwsAsync(pull(`hf:org/${name}`), { code, message });
    t.false(existsSync(at(`models--org--${name}`, 'snapshots')));
  };
  await refused('manifest', 'MODEL_INVALID', 'fkinv.json of org/manifest: graph: must be a file in the folder');
  await refused('names', 'MODEL_NOT_FOUND', 'org/names has no x.onnx, which its fkinv.json names');
  await refused(
    'graph',
    'MODEL_INVALID',
    'model.onnx of org/graph keeps weights in "../blobs/other", which is no file beside it: export it with its data in its folder',
  );
  await refused(
    'lost',
    'MODEL_INVALID',
    'model.onnx of org/lost keeps weights in lost.bin, which the repository does not have',
  );
  await refused(
    'torch',
    'MODEL_NOT_FOUND',
    /^org\/torch is no model that can be loaded: it has neither .+; its weights are of PyTorch, and have to be exported first$/,
  );
  await refused(
    'tokenless',
    'MODEL_NOT_FOUND',
    'org/tokenless is no model that can be loaded: it has no tokenizer.json',
  );
});

test('where the system makes no links, the files themselves stand in their place', async (t) => {
  const settings = await pythonCache(t, {});
  const cached = new CachedRepository(settings.cache, 'org/model');
  const hash = 'b'.repeat(64);
  await writeFile(cached.blob(hash), 'content');
  const noLinks = (): Promise<void> => Promise.reject(Object.assign(new Error('no links'), { code: 'EPERM' }));
  await cached.link(commit, 'onnx/model.onnx', hash, noLinks);
  const file = cached.file(commit, 'onnx/model.onnx');
  t.true((await lstat(file)).isFile());
  t.is(await readFile(file, 'utf8'), 'content');
  t.false(existsSync(cached.blob(hash)));
  const broken = (): Promise<void> => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }));
  await writeFile(cached.blob(hash), 'content');
  await t.throwsAsync(cached.link(commit, 'other.onnx', hash, broken), {
    code: 'CACHE_FAILED',
    message: /^the disk is full, /,
  });
});

test('a pull with copies in place of links fetches nothing again', async (t) => {
  const { hub, pull } = await openStore(t, { 'org/dllm': { folder: path.join(fixtures, 'dllm') } });
  const { folder } = await pull('hf:org/dllm');
  const contents = await contentsOf(folder);
  const root = path.dirname(path.dirname(folder));
  await rm(folder, { recursive: true });
  await rm(path.join(root, 'blobs'), { recursive: true });
  await cp(path.join(fixtures, 'dllm'), folder, { recursive: true });
  const before = hub.requests.length;
  t.is((await pull('hf:org/dllm')).folder, folder);
  t.is(hub.requests.slice(before).filter(({ path: name }) => name.includes('/resolve/')).length, 0);
  t.deepEqual(await contentsOf(folder), contents);
});

test('a removal of a revision leaves what another one shares, and one of a variant the others', async (t) => {
  const { hub, pull, at, cache } = await openStore(t, {
    'org/clip': {
      folder: path.join(fixtures, 'clip'),
      files: Object.fromEntries(
        Object.entries(await filesOf('clip'))
          .filter(([name]) => name.endsWith('.onnx'))
          .map(([name, content]) => [
            name.replace('.onnx', '_fp16.onnx'),
            Buffer.concat([content, Buffer.from([0x12, 0])]),
          ]),
      ),
    },
  });
  const settings = { endpoint: hub.endpoint, cache, token: undefined, isOffline: false };
  const remove = async (name: string): Promise<number> => {
    const { bytes, remove: act } = await planRemoval(settings, parseHubName(name));
    await act();
    return bytes;
  };
  const old = await pull('hf:org/clip:fp16');
  await pull('hf:org/clip:fp32');
  hub.add('org/clip', {
    folder: path.join(fixtures, 'clip'),
    files: { 'config.json': '{"projection_dim": 3}' },
    licence: 'mit',
  });
  const young = await pull('hf:org/clip');
  const [first, second] = await storedModels(settings).then((models) =>
    models.sort((a) => (a.commit === old.commit ? -1 : 1)),
  );
  t.like(first, { commit: old.commit, variants: ['fp32', 'fp16'], revisions: [], isWhole: true, kind: 'clip' });
  t.like(second, { commit: young.commit, variants: ['fp32'], revisions: ['main'], bytes: 2916 });

  const blobs = async (): Promise<number> => (await readdir(at('models--org--clip', 'blobs'))).length;
  const all = await blobs();
  t.is(await remove(`hf:org/clip:fp16@${old.commit}`), 789);
  t.is(await blobs(), all - 2);
  t.deepEqual(
    (await storedModels(settings)).map(({ variants }) => variants),
    [['fp32'], ['fp32']],
  );
  await remove(`hf:org/clip@${old.commit}`);
  t.false(existsSync(old.folder));
  t.is((await cachedModel(settings, parseHubName('hf:org/clip'), 'cpu')).commit, young.commit);
  t.is(await blobs(), (await readdir(path.join(fixtures, 'clip'))).length);
  await remove('hf:org/clip@main');
  t.deepEqual(await readdir(at('models--org--clip', 'refs')), []);
  t.is(await blobs(), 0);
  await t.throwsAsync(planRemoval(settings, parseHubName('hf:org/clip@main')), { code: 'MODEL_NOT_FOUND' });
});

test('a name as a variant of several is told to the folder, and one that is alone needs no warning', async (t) => {
  const clip = await filesOf('clip');
  const named = Object.fromEntries(
    Object.entries(clip).map(([name, content]) => [name.replace('.onnx', '_quantized.onnx'), content]),
  );
  const alone = await pythonCache(t, named);
  t.is((await openCached(alone, parseHubName('hf:org/model'), 'cpu')).variant, 'q8');
  const both = await pythonCache(t, { ...named, ...clip });
  t.is((await openCached(both, parseHubName('hf:org/model'), 'cpu')).variant, undefined);
  t.is((await openCached(both, parseHubName('hf:org/model:q8'), 'cpu')).variant, 'q8');
});

test('links to elsewhere among the snapshots do not make a removal reach there', async (t) => {
  const settings = await pythonCache(t, await filesOf('dllm'));
  const outside = path.join(emptyFolder(t), 'precious');
  await writeFile(outside, 'precious');
  await symlink(outside, path.join(settings.snapshot, 'LICENSE'));
  await symlink(path.dirname(outside), path.join(settings.snapshot, 'folder'));
  await (await planRemoval(settings, parseHubName('hf:org/model@main'))).remove();
  t.false(existsSync(settings.snapshot));
  t.is(await readFile(outside, 'utf8'), 'precious');
});
