// What can go wrong with a pull: lines that are cut, two at once, full disks, wrong bytes, servers that refuse.
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FkinvError, type ErrorCode } from '../../lib/errors';
import { fetchBlob } from '../../lib/store/blob';
import { CachedRepository } from '../../lib/store/cache';
import { Hub } from '../../lib/store/hub';
import { cli, root } from '../helpers/fkinv';
import { freePort } from '../helpers/free-port';
import type { Fault, Repository, Request } from '../helpers/hub';
import { needs } from '../helpers/needs';
import { emptyFolder, fixtures, openStore, type Store } from '../helpers/store';
import { float32, onnxFile } from '../onnx/builder';

/** Numbers that repeat on every machine. */
function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

const random = generator(17);
/** A graph of 800 kB. */
const large = Buffer.from(
  onnxFile({
    nodes: [],
    inputs: [],
    output: { name: 'y', type: 'float32', dims: [200_000] },
    constants: { y: float32([200_000], Array.from({ length: 200_000 }, random)) },
  }),
);
const sha256 = createHash('sha256').update(large).digest('hex');
const dllm: Repository = { folder: path.join(fixtures, 'dllm'), files: { 'model.onnx': large } };
const isLarge = ({ at }: Request): boolean => at === 'files';

async function fails(
  t: ExecutionContext,
  pulling: Promise<unknown>,
  code: ErrorCode,
  message: RegExp | string,
): Promise<void> {
  const error = await t.throwsAsync(pulling, { instanceOf: FkinvError, code });
  if (typeof message === 'string') t.is(error.message, message);
  else t.regex(error.message, message);
  t.false(error.message.includes('\n'));
}

/** Nothing of the model can be loaded, and nothing lies among the blobs that is not whole. */
async function holdsNothing(t: ExecutionContext, { at }: Store, name = 'models--org--dllm'): Promise<void> {
  t.deepEqual(await readdir(at(name, 'snapshots')).catch(() => []), []);
  t.false(existsSync(at(name, 'blobs', sha256)));
}

test('a line that is cut 50 times at random bytes gives the file, each byte fetched once', async (t) => {
  const { hub, pull } = await openStore(t, { 'org/dllm': dllm });
  const next = generator(2024);
  let cuts = 0;
  hub.fault = (request) => {
    if (!isLarge(request) || cuts === 50) return undefined;
    cuts++;
    return { cutAfter: Math.floor(next() * 30_000) };
  };
  const { folder } = await pull('hf:org/dllm');
  t.is(cuts, 50);
  t.deepEqual(await readFile(path.join(folder, 'model.onnx')), large);
  const starts = hub.requests.filter(isLarge).map(({ range }) => Number(/\d+/.exec(range ?? '')?.[0] ?? 0));
  t.is(starts.length, 51);
  t.true(starts.every((start, i) => start >= (starts[i - 1] ?? 0) && start < large.length));
  t.true((starts.at(-1) ?? 0) > 300_000);
  // Signed links are of use once: each attempt asked the Hub for a new one.
  t.is(hub.requests.filter(({ at, path: name }) => at === 'hub' && name.endsWith('/model.onnx')).length, 51);
});

test('a line that brings nothing any more ends the pull, and the next one goes on', async (t) => {
  const store = await openStore(t, { 'org/dllm': dllm });
  const { hub, pull } = store;
  let lines = 0;
  hub.fault = (request) => (isLarge(request) ? { cutAfter: lines++ === 0 ? 100_000 : 0 } : undefined);
  await fails(
    t,
    pull('hf:org/dllm'),
    'HUB_UNAVAILABLE',
    / cannot be reached, or breaks off \(.+\): check the connection, /,
  );
  await holdsNothing(t, store);
  hub.fault = () => undefined;
  const before = hub.requests.length;
  await pull('hf:org/dllm');
  const [range] = hub.requests.slice(before).flatMap((request) => request.range ?? []);
  t.regex(range ?? '', /^bytes=[1-9]\d{4,5}-$/);
});

test('a server that heeds no range starts the file over', async (t) => {
  const { hub, pull } = await openStore(t, { 'org/dllm': dllm });
  let lines = 0;
  hub.fault = (request) =>
    isLarge(request) ? { ignoresRange: true, cutAfter: lines++ === 0 ? 100_000 : Infinity } : undefined;
  const { folder } = await pull('hf:org/dllm');
  t.deepEqual(await readFile(path.join(folder, 'model.onnx')), large);
  t.is(lines, 2);
});

test('what an earlier pull left broken is fetched anew', async (t) => {
  const { hub, pull, at } = await openStore(t, { 'org/dllm': dllm });
  await mkdir(at('models--org--dllm', 'blobs'), { recursive: true });
  const partial = at('models--org--dllm', 'blobs', `${sha256}.fkinv.incomplete`);
  await writeFile(partial, Buffer.alloc(500_000));
  const { folder } = await pull('hf:org/dllm');
  t.deepEqual(await readFile(path.join(folder, 'model.onnx')), large);
  const ranges = hub.requests.filter(isLarge).map(({ range }) => range);
  t.deepEqual(ranges, ['bytes=500000-', undefined]);
});

function fkinv(
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [cli, ...args],
      { cwd: root, env: { ...process.env, ...env } },
      (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

test('of two processes that pull the same one fetches it, and the other waits', async (t) => {
  const { hub, cache } = await openStore(t, { 'org/dllm': dllm });
  hub.fault = (request) => (isLarge(request) ? { slow: 20 } : undefined);
  const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_HOME: emptyFolder(t), HF_TOKEN: '' };
  const both = await Promise.all([1, 2].map(() => fkinv(['models', 'pull', 'hf:org/dllm', '--device', 'cpu'], env)));
  for (const { code, stdout, stderr } of both) {
    t.is(code, 0, stderr);
    t.deepEqual(await readFile(path.join(stdout.trim(), 'model.onnx')), large);
  }
  t.is(hub.requests.filter(isLarge).length, 1);
  t.is(both.filter(({ stderr }) => stderr.includes('waits for another process that fetches org/dllm')).length, 1);
});

test('where locks do not work, two that fetch the same file lose time and nothing else', async (t) => {
  const { hub: server, cache } = await openStore(t, { 'org/dllm': dllm });
  server.fault = (request) => (isLarge(request) ? { slow: 2 } : undefined);
  const settings = { endpoint: server.endpoint, cache, token: undefined, isOffline: false };
  const hub = await Hub.open(settings, { warn: () => undefined, pause: 1 });
  t.teardown(() => hub.close());
  const listing = await hub.list('org/dllm', 'main');
  const file = listing.files.find(({ path: name }) => name === 'model.onnx');
  if (file === undefined) throw new RangeError('no graph');
  const cached = new CachedRepository(cache, 'org/dllm');
  await Promise.all([1, 2, 3].map(() => fetchBlob(hub, cached, listing, file, () => undefined)));
  t.deepEqual(await readFile(cached.blob(sha256)), large);
  t.deepEqual(await readdir(path.join(cached.path, 'blobs')), [sha256]);
});

const canMount =
  process.platform === 'linux' && spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;
const onDisk = needs(canMount, 'user namespaces of Linux that may mount');

/** What `command` prints with an empty disk of so many bytes at `disk`. */
function onSmallDisk(disk: string, bytes: number, command: string, env: NodeJS.ProcessEnv): Promise<string> {
  const script = `mount -t tmpfs -o size=${bytes} none '${disk}' && ${command}`;
  return new Promise((resolve, reject) => {
    execFile('unshare', ['-rm', 'sh', '-c', script], { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(stderr, { cause: error }));
    });
  });
}

onDisk('a disk that fills ends the pull, and the next one goes on once there is room', async (t) => {
  const { hub } = await openStore(t, { 'org/dllm': dllm });
  const disk = emptyFolder(t);
  const script = path.join(root, 'test', 'fixtures', 'process', 'fill-disk.cjs');
  const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: path.join(disk, 'hub'), HF_HOME: disk };
  const printed = await onSmallDisk(disk, 4 << 20, `'${process.execPath}' '${script}' hf:org/dllm '${disk}'`, env);
  const { error, bytes } = JSON.parse(printed) as { error: { code: string; message: string }; bytes: number };
  t.is(error.code, 'CACHE_FAILED');
  t.regex(
    error.message,
    /^the disk is full, \S+\.fkinv\.incomplete cannot be written \(ENOSPC: [^\n]+\): make room, or name a folder of another disk by HF_HUB_CACHE; another pull goes on where this one stopped$/,
  );
  t.true(bytes > large.length);
  const ranges = hub.requests.filter(isLarge).map(({ range }) => range);
  t.is(ranges[0], undefined);
  t.regex(ranges[1] ?? '', /^bytes=[1-9]\d+-$/);
});

onDisk(
  'a disk that has no room is told of before the first byte, and one that is read-only serves what it has',
  async (t) => {
    const { hub, pull, cache } = await openStore(t, { 'org/dllm': dllm });
    const disk = emptyFolder(t);
    const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: path.join(disk, 'hub'), HF_HOME: disk, NO_COLOR: '1' };
    const pulling = `'${process.execPath}' '${cli}' models pull hf:org/dllm --device cpu`;
    const tight = await onSmallDisk(disk, 200_000, `(${pulling} 2>&1 || true)`, env);
    t.regex(
      tight,
      /^error: hf:org\/dllm takes 80\d kB more, and the disk of \S+ has \d+ kB free: make room, or name a folder of another disk by HF_HUB_CACHE \(CACHE_FAILED\)\n$/,
    );
    t.is(hub.requests.filter(isLarge).length, 0);

    await pull('hf:org/dllm');
    const readOnly = `mkdir '${disk}/hub' && cp -a '${cache}/.' '${disk}/hub' && mount -o remount,ro '${disk}'`;
    const asked = hub.requests.length;
    const served = await onSmallDisk(disk, 4 << 20, `${readOnly} && ${pulling} 2>&1`, env);
    t.is(served.trim(), path.join(disk, 'hub', 'models--org--dllm', 'snapshots', hub.commitOf('org/dllm')));
    t.is(hub.requests.slice(asked).filter(({ path: name }) => name.includes('/resolve/')).length, 0);

    const empty = `mount -o remount,ro '${disk}' && (${pulling} 2>&1 || true)`;
    const refused = await onSmallDisk(disk, 4 << 20, empty, env);
    t.regex(
      refused,
      /error: cannot write \S+ \(E(?:ROFS|NOENT): [^\n]+\): name a folder that can be written by HF_HUB_CACHE \(CACHE_FAILED\)\n$/,
    );
  },
);

test('the token goes to the Hub and to no other host', async (t) => {
  const { hub, pull } = await openStore(t, { 'org/dllm': { ...dllm, token: 'hf_secret' } });
  await pull('hf:org/dllm', {}, 'hf_secret');
  const sent = (at: Request['at']): Set<string | undefined> =>
    new Set(hub.requests.filter((request) => request.at === at).map(({ authorization }) => authorization));
  t.deepEqual(sent('hub'), new Set(['Bearer hf_secret']));
  t.deepEqual(sent('files'), new Set([undefined]));
});

const wrongBytes: Record<string, { fault: Fault; message: RegExp }> = {
  'of another hash': {
    fault: { body: Buffer.concat([large.subarray(0, large.length - 1), Buffer.from([1])]) },
    message: new RegExp(
      `^model.onnx of org/dllm has the SHA-256 [0-9a-f]{64} and should have ${sha256}: pull it again, or without the mirror$`,
    ),
  },
  'that is too short': {
    fault: { body: 'not found, says a mirror with status 200' },
    message: new RegExp(`^model.onnx of org/dllm comes with 40 bytes and should have ${large.length}: `),
  },
  'that is too long': {
    fault: { body: Buffer.alloc(large.length + 1) },
    message: new RegExp(
      `^model.onnx of org/dllm comes with ${large.length + 1} bytes and should have ${large.length}: `,
    ),
  },
  'in whose place a Git LFS pointer comes': {
    fault: { body: `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${large.length}\n` },
    message:
      /^model.onnx of org\/dllm comes as the Git LFS pointer that stands for it: pull it again, or without the mirror$/,
  },
};
for (const [what, { fault, message }] of Object.entries(wrongBytes)) {
  test(`a file ${what} never counts as there`, async (t) => {
    const store = await openStore(t, { 'org/dllm': dllm });
    store.hub.fault = (request) => (isLarge(request) ? fault : undefined);
    await fails(t, store.pull('hf:org/dllm'), 'HUB_INVALID', message);
    await holdsNothing(t, store);
    store.hub.fault = () => undefined;
    const { folder } = await store.pull('hf:org/dllm');
    t.deepEqual(await readFile(path.join(folder, 'model.onnx')), large);
  });
}

test('a small file of another hash never counts as there', async (t) => {
  const store = await openStore(t, { 'org/dllm': dllm });
  const config = await readFile(path.join(fixtures, 'dllm', 'config.json'));
  store.hub.fault = ({ path: name }) =>
    name.endsWith('/config.json') ? { body: config.toString().replace('8', '9') } : undefined;
  await fails(
    t,
    store.pull('hf:org/dllm'),
    'HUB_INVALID',
    /^config.json of org\/dllm has the git hash [0-9a-f]{40} and should have /,
  );
  await holdsNothing(t, store);
});

test('a repository that has a Git LFS pointer for a graph is told of', async (t) => {
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${large.length}\n`;
  const store = await openStore(t, { 'org/dllm': { ...dllm, files: { 'model.onnx': pointer } } });
  await fails(
    t,
    store.pull('hf:org/dllm'),
    'MODEL_INVALID',
    /^model.onnx of org\/dllm is a Git LFS pointer, not the file that it stands for/,
  );
  await holdsNothing(t, store);
});

const page = (hub: Store['hub'], name = 'org/dllm'): string => `${hub.endpoint}/${name}`;

test('what the Hub refuses is told by its code, with what to do', async (t) => {
  const { hub, pull } = await openStore(t, {
    'org/dllm': dllm,
    'org/gated': { ...dllm, isGated: true },
    'org/private': { ...dllm, token: 'hf_secret' },
  });
  await fails(
    t,
    pull('hf:org/gated'),
    'HUB_REFUSED',
    `org/gated is gated: open ${page(hub, 'org/gated')}, agree to its terms, and pull again (give a token of your account as HF_TOKEN)`,
  );
  await fails(
    t,
    pull('hf:org/gated', {}, 'hf_other'),
    'HUB_REFUSED',
    `org/gated is gated: open ${page(hub, 'org/gated')}, agree to its terms, and pull again (the token that is given is not of an account that did)`,
  );
  await fails(
    t,
    pull('hf:org/private'),
    'HUB_REFUSED',
    `there is no org/private at ${hub.endpoint}: the name is misspelt, or it is private (log in, by HF_TOKEN or hf auth login)`,
  );
  await fails(
    t,
    pull('hf:org/misspelt', {}, 'hf_other'),
    'HUB_REFUSED',
    `there is no org/misspelt at ${hub.endpoint}: the name is misspelt, or it is private (the token that is given does not see it)`,
  );
  await fails(
    t,
    pull('hf:org/dllm@v2'),
    'HUB_REFUSED',
    `org/dllm has no revision v2: ${page(hub)}/tree/main has its branches and tags`,
  );
  hub.fault = ({ path: name }) =>
    name.endsWith('/tokenizer.json') ? { status: 404, headers: { 'x-error-code': 'EntryNotFound' } } : undefined;
  await fails(
    t,
    pull('hf:org/dllm'),
    'HUB_REFUSED',
    `org/dllm has no file tokenizer.json at ${hub.commitOf('org/dllm')}; it has config.json, model.onnx, tokenizer.json, tokenizer_config.json`,
  );
  hub.fault = () => ({ status: 451, headers: { 'x-error-message': 'Not here.' } });
  await fails(t, pull('hf:org/dllm'), 'HUB_REFUSED', `${hub.endpoint} refuses org/dllm (451: Not here.)`);
});

test('the Hub is waited for as long as it says, and servers that fail are asked again', async (t) => {
  const { hub, pull, warnings } = await openStore(t, { 'org/dllm': dllm });
  const busy: Fault[] = [
    { status: 429, headers: { 'retry-after': '1' } },
    { status: 500 },
    { status: 429, headers: { ratelimit: '"api";r=0;t=1' } },
    { status: 502 },
    { status: 503, headers: { 'retry-after': new Date(0).toUTCString() } },
  ];
  hub.fault = () => busy.shift();
  await pull('hf:org/dllm');
  t.deepEqual(
    warnings,
    [429, 429, 503].map((status) => `${hub.endpoint} has us wait 1 s (${status})`),
  );
  hub.fault = () => ({ status: 429, headers: { 'retry-after': '86400' } });
  await fails(
    t,
    pull('hf:org/dllm'),
    'HUB_UNAVAILABLE',
    `${hub.endpoint} takes no more requests from here for 86400 s (429): pull again then, or give a token as HF_TOKEN`,
  );
  hub.fault = () => ({ status: 500 });
  await fails(t, pull('hf:org/dllm'), 'HUB_UNAVAILABLE', / cannot be reached, or breaks off \(it answers 500\): /);
});

test('an address at which there is no Hub is told of', async (t) => {
  const { hub, cache, pull } = await openStore(t, { 'org/dllm': dllm });
  const endpoint = `http://127.0.0.1:${await freePort()}`;
  const settings = { endpoint, cache, token: undefined, isOffline: false };
  await fails(
    t,
    pull('hf:org/dllm', { settings }),
    'HUB_UNAVAILABLE',
    new RegExp(
      `^${endpoint} cannot be reached, or breaks off \\(connect ECONNREFUSED .+\\): check the connection, HTTPS_PROXY and HF_ENDPOINT, `,
    ),
  );
  const answers: Fault[] = [
    { body: '<html>Log in to the network</html>' },
    { body: '{}' },
    { body: '[]' },
    { status: 302, headers: { location: '/elsewhere' } },
    { status: 302, headers: { location: 'file:///etc/passwd' } },
  ];
  for (const answer of answers) {
    hub.fault = () => answer;
    await fails(t, pull('hf:org/dllm'), 'HUB_INVALID', /./);
  }
});

test('a list of files that leads out of the cache is refused', async (t) => {
  for (const name of ['../../../evil', '/etc/evil', 'a/../../evil', 'a\\evil', 'C:evil', 'a//b']) {
    const store = await openStore(t, {});
    store.hub.add('org/dllm', { ...dllm, files: { ...dllm.files, [name]: 'evil' } });
    await fails(t, store.pull('hf:org/dllm'), 'HUB_INVALID', /path: must be a file in the repository/);
    await holdsNothing(t, store);
  }
});
