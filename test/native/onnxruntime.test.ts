import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { familySync, MUSL } from 'detect-libc';
import { FkinvError } from '../../lib/errors';
import {
  besideOnnxRuntime,
  findOnnxRuntime,
  otherOnnxRuntimes,
  shippedOnnxRuntime,
} from '../../lib/native/onnxruntime';
import { needs } from '../helpers/needs';

// An engine can open one ONNX Runtime in a process, so each of these is of a process of its own.

const run = promisify(execFile);
const root = path.join(__dirname, '..', '..');
const header = readFileSync(path.join(root, 'third_party', 'onnxruntime', 'onnxruntime_c_api.h'), 'utf8');
const apiVersion = Number(/^#define ORT_API_VERSION (\d+)$/m.exec(header)?.[1]);

let folder: string;
test.before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fkinv onnxruntime ü-'));
});
test.after.always(() => rm(folder, { recursive: true }));

function versionOf(packageFile: string): { version: string; dependencies: Record<string, string> } {
  return JSON.parse(readFileSync(packageFile, 'utf8')) as ReturnType<typeof versionOf>;
}

/** What `script` prints, run by a Node process of its own in this package, without FKINV_ONNXRUNTIME or with this one. */
async function node(script: string, onnxruntime?: string): Promise<unknown> {
  const env = { ...process.env };
  delete env['FKINV_ONNXRUNTIME'];
  if (onnxruntime !== undefined) env['FKINV_ONNXRUNTIME'] = onnxruntime;
  const { stdout } = await run(process.execPath, ['-e', script], { cwd: root, env });
  return JSON.parse(stdout) as unknown;
}

const load = `
  const { Inverter, FkinvError } = require('fkinv-native');
  const models = { dllm: 'test/fixtures/models/dllm', clip: 'test/fixtures/models/clip', threads: 1 };
  const load = () => Inverter.load(models).then(
    async (inverter) => {
      const image = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 };
      const { prompt } = await inverter.invert(image, { particles: 2, steps: 1, length: 4 });
      await inverter.dispose();
      return { prompt };
    },
    (error) => ({ ours: error instanceof FkinvError, code: error.code, message: error.message }),
  );
  const print = (value) => console.log(JSON.stringify(value));
`;

interface Failure {
  ours: boolean;
  code: string;
  message: string;
}

function says(t: ExecutionContext, failure: unknown, code: string, ...named: string[]): void {
  const { ours, code: given, message } = failure as Failure;
  t.deepEqual({ ours, code: given }, { ours: true, code });
  for (const name of named) t.true(message.includes(name), `"${name}" in "${message}"`);
}

/** Loading with `library` fails so, a second time too, and works once FKINV_ONNXRUNTIME is gone. */
async function refuses(t: ExecutionContext, library: string, code: string, ...named: string[]): Promise<void> {
  const script = `${load} (async () => {
    const results = [await load(), await load()];
    delete process.env.FKINV_ONNXRUNTIME;
    print([...results, await load()]);
  })();`;
  const [first, second, last] = (await node(script, library)) as unknown[];
  says(t, first, code, library, ...named);
  t.deepEqual(second, first);
  t.is(typeof (last as { prompt?: unknown }).prompt, 'string', JSON.stringify(last));
}

/** A shared library of this C source. */
async function library(name: string, source: string): Promise<string> {
  const file = path.join(folder, `lib${name}.so`);
  await writeFile(`${file}.c`, source);
  await run('cc', ['-shared', '-fPIC', '-o', file, `${file}.c`]);
  return file;
}

/** A library that passes itself off as ONNX Runtime `version`, and has no API to give. */
function impostor(name: string, version: string): Promise<string> {
  return library(
    name,
    `
    #include <stddef.h>
    #include <stdint.h>
    static const void* getApi(uint32_t version) { return NULL; }
    static const char* getVersionString(void) { return "${version}"; }
    static const struct { const void* (*a)(uint32_t); const char* (*b)(void); } base = {getApi, getVersionString};
    const void* OrtGetApiBase(void) { return &base; }
    `,
  );
}

const onnxruntimeNode = path.dirname(require.resolve('onnxruntime-node/package.json'));

/** The platforms that onnxruntime-node has a library for: its package holds those of all of them. */
function platformsShipped(): string[] {
  const bin = path.join(onnxruntimeNode, 'bin', 'napi-v6');
  return readdirSync(bin).flatMap((platform) => readdirSync(path.join(bin, platform)).map((a) => `${platform}-${a}`));
}

test('every library that onnxruntime-node ships is found, and its neighbours beside it', (t) => {
  const shipped = platformsShipped();
  t.deepEqual(shipped.sort(), ['darwin-arm64', 'linux-arm64', 'linux-x64', 'win32-arm64', 'win32-x64']);
  for (const target of shipped) {
    const [platform = '', arch = ''] = target.split('-');
    const file = shippedOnnxRuntime(platform, arch, platform === 'linux' ? 'glibc' : null);
    t.true(existsSync(path.join(onnxruntimeNode, file)), file);
    t.true(existsSync(path.join(onnxruntimeNode, path.dirname(file), 'onnxruntime_binding.node')), file);
  }
});

test('a platform that onnxruntime-node ships nothing for is told what to name, and where to get it', (t) => {
  const refused: [platform: string, arch: string, libc: string | null, ...named: string[]][] = [
    ['linux', 'x64', 'musl', 'linux-x64 with musl', 'apk add onnxruntime'],
    ['linux', 'arm64', 'musl', 'linux-arm64 with musl', 'apk add onnxruntime'],
    ['linux', 'riscv64', 'glibc', 'linux-riscv64:', 'build one'],
    ['darwin', 'x64', null, 'darwin-x64:', 'brew install onnxruntime'],
    ['win32', 'ia32', null, 'win32-ia32:', 'build one'],
    ['freebsd', 'x64', null, 'freebsd-x64:', 'build one'],
  ];
  const { dependencies } = versionOf(path.join(root, 'package.json'));
  const pinned = `onnxruntime-node@${dependencies['onnxruntime-node'] ?? '?'}`;
  for (const [platform, arch, libc, ...named] of refused) {
    const error = t.throws(() => shippedOnnxRuntime(platform, arch, libc), { instanceOf: FkinvError });
    t.is(error.code, 'ORT_NOT_FOUND');
    for (const name of [pinned, `1.${apiVersion} or a later 1.x`, 'FKINV_ONNXRUNTIME', ...named]) {
      t.true(error.message.includes(name), `"${name}" in "${error.message}"`);
    }
  }
});

test('a C library that could not be told is taken for glibc', (t) => {
  t.is(shippedOnnxRuntime('linux', 'x64', null), shippedOnnxRuntime('linux', 'x64', 'glibc'));
});

test('FKINV_ONNXRUNTIME names a file that does not exist', async (t) => {
  await refuses(t, path.join(folder, 'libmissing.so'), 'ORT_NOT_FOUND', 'FKINV_ONNXRUNTIME', 'no such file');
});

test('FKINV_ONNXRUNTIME names a directory', async (t) => {
  const directory = path.join(folder, 'directory.so');
  await mkdir(directory);
  await refuses(t, directory, 'ORT_NOT_FOUND', 'npm install onnxruntime-node@');
});

test('FKINV_ONNXRUNTIME names a file that is no library', async (t) => {
  for (const [name, content] of Object.entries({ text: 'no library', empty: '', cut: '\x7fELF\x02\x01\x01' })) {
    const file = path.join(folder, `${name}.so`);
    await writeFile(file, content, 'latin1');
    await refuses(t, file, 'ORT_NOT_FOUND', 'could not be opened', 'npm install onnxruntime-node@');
  }
});

test('FKINV_ONNXRUNTIME names another library', async (t) => {
  const file = await library('other', 'int answer(void) { return 42; }');
  await refuses(t, file, 'ORT_NOT_FOUND', 'is not ONNX Runtime', 'OrtGetApiBase', 'npm install onnxruntime-node@');
});

for (const version of ['1.17.0', `1.${apiVersion - 1}.9`, `1.${apiVersion}.0`, `2.${apiVersion}.0`, '']) {
  test(`FKINV_ONNXRUNTIME names a library of version "${version}" that lacks our API`, async (t) => {
    const file = await impostor(`version ${version}`, version);
    const remedy = 'npm install onnxruntime-node@';
    await refuses(
      t,
      file,
      'ORT_VERSION',
      `ONNX Runtime ${version} was found`,
      `1.${apiVersion} or a later 1.x`,
      remedy,
    );
  });
}

test('FKINV_ONNXRUNTIME names the right library by another path', async (t) => {
  const link = path.join(folder, 'libmine.so');
  await symlink(findOnnxRuntime(), link);
  for (const given of [link, path.relative(root, link)]) {
    const [mine, own] = (await Promise.all([
      node(`${load} load().then(print);`, given),
      node(`${load} load().then(print);`),
    ])) as { prompt: string }[];
    t.is(typeof mine?.prompt, 'string');
    t.deepEqual(mine, own);
  }
});

test('a second library in one process is refused, and the first goes on', async (t) => {
  const second = await impostor('second', `1.${apiVersion}.0`);
  const script = `${load} (async () => {
    const first = await load();
    process.env.FKINV_ONNXRUNTIME = ${JSON.stringify(second)};
    const refused = await load();
    delete process.env.FKINV_ONNXRUNTIME;
    print([first, refused, await load()]);
  })();`;
  const [first, refused, again] = (await node(script)) as unknown[];
  says(t, refused, 'ORT_VERSION', second, findOnnxRuntime(), 'already open', `1.${apiVersion}.`);
  t.deepEqual(again, first);
});

test('an Inverter that is open outlives the attempt to load a second library', async (t) => {
  const script = `${load} (async () => {
    const image = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 };
    const inverter = await Inverter.load(models);
    const before = await inverter.invert(image, { particles: 2, steps: 1, length: 4 });
    process.env.FKINV_ONNXRUNTIME = '/no/such/library.so';
    const refused = await load();
    const after = await inverter.invert(image, { particles: 2, steps: 1, length: 4 });
    await inverter.dispose();
    print([refused, before.particles, after.particles]);
  })();`;
  const [refused, before, after] = (await node(script)) as unknown[];
  says(t, refused, 'ORT_NOT_FOUND', '/no/such/library.so');
  t.deepEqual(after, before);
});

test('the package pins exactly the release of the headers’ API', (t) => {
  t.true(Number.isInteger(apiVersion));
  const { dependencies } = versionOf(path.join(root, 'package.json'));
  const pinned = dependencies['onnxruntime-node'] ?? '';
  t.regex(pinned, /^\d+\.\d+\.\d+$/);
  t.is(pinned.replace(/\.\d+$/, ''), `1.${apiVersion}`);
});

test('the library that is loaded is the pinned one, by its package and by its own word', async (t) => {
  const { dependencies } = versionOf(path.join(root, 'package.json'));
  const pinned = dependencies['onnxruntime-node'] ?? '';
  const file = findOnnxRuntime();
  t.true(existsSync(file));
  t.true(file.startsWith(onnxruntimeNode + path.sep));
  t.is(versionOf(path.join(onnxruntimeNode, 'package.json')).version, pinned);

  const asker = path.join(folder, 'asker');
  await writeFile(
    `${asker}.c`,
    `
    #include <dlfcn.h>
    #include <stdio.h>
    #include "onnxruntime_c_api.h"
    int main(int count, char** arguments) {
      void* library = dlopen(arguments[count - 1], RTLD_NOW);
      if (library == NULL) return 1;
      const OrtApiBase* (*base)(void) = (const OrtApiBase* (*)(void))dlsym(library, "OrtGetApiBase");
      puts(base()->GetVersionString());
      return base()->GetApi(ORT_API_VERSION) == NULL;
    }
    `,
  );
  const include = path.join(root, 'third_party', 'onnxruntime');
  await run('cc', ['-I', include, '-o', asker, `${asker}.c`, '-ldl']);
  const { stdout } = await run(asker, [file]);
  t.is(stdout.trim(), pinned);
});

test('messages name the pinned version', async (t) => {
  const { dependencies } = versionOf(path.join(root, 'package.json'));
  const file = await library('nothing', 'int nothing;');
  await refuses(t, file, 'ORT_NOT_FOUND', `onnxruntime-node@${dependencies['onnxruntime-node'] ?? '?'}`);
});

test('onnxruntime-node opens the same library beside us in one process', async (t) => {
  const script = `${load} (async () => {
    process.env.ORT_DISABLE_TELEMETRY = '1'; // we turn off ours alone
    const ort = require('onnxruntime-node');
    const session = await ort.InferenceSession.create('models/clip/text_model.onnx');
    const result = await load();
    const ids = new ort.Tensor('int64', BigInt64Array.of(1n, 2n), [1, 2]);
    const { text_embeds: embeds } = await session.run({ input_ids: ids });
    print([result, embeds.dims]);
  })();`;
  const [result, dims] = (await node(script)) as [unknown, unknown];
  t.is(typeof (result as { prompt?: unknown }).prompt, 'string', JSON.stringify(result));
  t.deepEqual(dims, [1, 256]);
});

/**
 * An addon as the onnxruntime-node of another package has it: bound to a libonnxruntime.so.1 beside it of a release of its own,
 * whose symbols carry that release's version. What it exports is what the library answers.
 */
async function otherBinding(): Promise<string> {
  const at = path.join(folder, 'another release');
  await mkdir(at);
  const name = 'libonnxruntime.so.1';
  const [code, versions] = [path.join(at, 'code.c'), path.join(at, 'versions')];
  const addon = path.join(at, 'binding.node');
  await writeFile(versions, 'VERS_1.99.0 { global: OrtGetApiBase; local: *; };');
  await writeFile(code, 'int OrtGetApiBase(void) { return 199; }');
  const script = `-Wl,--version-script=${versions}`;
  await run('cc', ['-shared', '-fPIC', '-o', path.join(at, name), `-Wl,-soname,${name}`, script, code]);
  await writeFile(
    code,
    `
    typedef void* Value;
    int OrtGetApiBase(void);
    int napi_create_int32(void* env, int number, Value* value);
    __attribute__((visibility("default"))) Value napi_register_module_v1(void* env, Value exports) {
      Value value;
      return napi_create_int32(env, OrtGetApiBase(), &value) == 0 ? value : exports;
    }
    `,
  );
  await run('cc', ['-shared', '-fPIC', '-o', addon, '-Wl,-rpath,$ORIGIN', code, path.join(at, name)]);
  return addon;
}

const glibc = needs(process.platform === 'linux' && familySync() !== MUSL, 'glibc, which goes by names');

glibc('another release of ONNX Runtime is loaded beside ours, before or after it, in a worker too', async (t) => {
  const addon = JSON.stringify(await otherBinding());
  const inWorker = JSON.stringify(`require('node:worker_threads').parentPort.postMessage(require(${addon}))`);
  const others = {
    'this thread': `Promise.resolve(require(${addon}))`,
    'a worker': `require('node:events').once(new (require('node:worker_threads').Worker)(${inWorker}, { eval: true }), 'message')`,
  };
  for (const [where, other] of Object.entries(others)) {
    const orders = [`[await load(), await ${other}]`, `[await ${other}, await load()].reverse()`];
    for (const order of orders) {
      const [ours, theirs] = (await node(`${load} (async () => print(${order}))();`)) as [unknown, unknown];
      t.is(typeof (ours as { prompt?: unknown }).prompt, 'string', JSON.stringify(ours));
      t.is(String(theirs), '199', `${where}: ${order}`);
    }
  }
});

glibc('onnxruntime-node that comes after ours still gets the file that both use', async (t) => {
  const script = `${load} (async () => {
    const result = await load();
    process.env.ORT_DISABLE_TELEMETRY = '1';
    require('onnxruntime-node');
    const { readFileSync, realpathSync } = require('node:fs');
    const mapped = readFileSync('/proc/self/maps', 'utf8').match(/\\/.*libonnxruntime\\b.*/g);
    print([result, [...new Set(mapped.map((file) => realpathSync(file)))]]);
  })();`;
  const [result, files] = (await node(script)) as [{ prompt?: unknown }, string[]];
  t.is(typeof result.prompt, 'string', JSON.stringify(result));
  t.deepEqual(files, [findOnnxRuntime()]);
});

test('another release in the application is told of, and what Windows makes of it', async (t) => {
  const app = path.join(folder, 'app of two');
  const transformers = path.join(app, 'node_modules', '@huggingface', 'transformers');
  const nested = path.join(transformers, 'node_modules', 'onnxruntime-node');
  await mkdir(nested, { recursive: true });
  await writeFile(path.join(nested, 'package.json'), JSON.stringify({ version: '1.99.0' }));
  await writeFile(path.join(transformers, 'package.json'), JSON.stringify({ main: 'index.js' }));
  await writeFile(path.join(transformers, 'index.js'), '');
  const script = `
    const { findOnnxRuntime, otherOnnxRuntimes } = require(${JSON.stringify(path.join(root, 'dist', 'native', 'onnxruntime.js'))});
    console.log(JSON.stringify(otherOnnxRuntimes(findOnnxRuntime())));`;
  const { stdout } = await run(process.execPath, ['-e', script], { cwd: app });
  const other = { version: '1.99.0', folder: realpathSync(nested) };
  t.deepEqual(JSON.parse(stdout), [other]);
  t.deepEqual(otherOnnxRuntimes(findOnnxRuntime()), []);
  t.regex(besideOnnxRuntime(other, 'linux'), /^onnxruntime-node 1\.99\.0 in .* can be in the same process$/);
  t.regex(besideOnnxRuntime(other, 'win32'), /Import it first, or have FKINV_ONNXRUNTIME name .*onnxruntime\.dll/);
});
