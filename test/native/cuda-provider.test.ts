// ONNX Runtime's CUDA provider: where it is looked for, and what is said where it is not, or does not load. The stand-ins are
// real libraries that lack what a machine without CUDA lacks. All engines of a process run on one ONNX Runtime: each is of its own.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { native } from '../../lib/native/addon';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { providerLibraries } from '../../lib/native/provider-files';
import { root } from '../helpers/fkinv';
import { needs } from '../helpers/needs';

const run = promisify(execFile);
const packageName = 'com.github.asus4.onnxruntime.linux-x64-gpu';
const isInstalled = existsSync(path.join(root, 'node_modules', packageName));
const isLinux = process.platform === 'linux' && process.arch === 'x64';
const alone = needs(isLinux && !isInstalled, `Linux x64 without ${packageName}`);

let workspace: string;
test.before(async () => (workspace = await mkdtemp(path.join(await realpath(tmpdir()), 'fkinv-provider-'))));
test.after.always(() => rm(workspace, { recursive: true }));

/** A provider in `folder` whose CUDA library is missing, as on a machine without CUDA. */
async function addProvider(folder: string, missing: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const [shared = '', cuda = ''] = providerLibraries.map((name) => path.join(folder, name));
  const compile = async (file: string, source: string, ...with_: string[]): Promise<void> => {
    await writeFile(`${file}.c`, source);
    await run('cc', ['-shared', '-fPIC', '-o', file, `${file}.c`, ...with_]);
    await rm(`${file}.c`);
  };
  const needed = path.join(folder, missing);
  await compile(needed, 'int needed(void) { return 1; }', `-Wl,-soname,${missing}`);
  await compile(shared, 'void Provider_SetHost(void* host) { (void)host; }');
  await compile(cuda, 'int needed(void); int use(void) { return needed(); }', needed);
  await rm(needed);
}

/** A folder of an app that has the provider's package installed. */
async function addApp(name: string, missing = 'libcunothing.so.13'): Promise<string> {
  const app = path.join(workspace, name);
  const at = path.join(app, 'node_modules', packageName);
  await addProvider(path.join(at, 'Plugins', 'Linux', 'x64'), missing);
  await writeFile(path.join(at, 'package.json'), JSON.stringify({ name: packageName, version: '0.4.9' }));
  await mkdir(path.join(app, 'tmp'));
  return app;
}

const script = `
  const { openWithCudaProvider } = require(${JSON.stringify(path.join(root, 'dist', 'native', 'cuda-provider.js'))});
  const { Inverter } = require(${JSON.stringify(path.join(root, 'dist', 'index.js'))});
  const open = () => {
    try {
      return { library: openWithCudaProvider() };
    } catch ({ name, code, message }) {
      return { name, code, message };
    }
  };
  const onCpu = async () => {
    const inverter = await Inverter.load({ device: 'cpu' });
    await inverter.dispose();
    return inverter.device;
  };
  const print = (value) => console.log(JSON.stringify(value));
`;

/** What `code` prints, run in `cwd`. */
async function printed(cwd: string, code: string, env: NodeJS.ProcessEnv = {}): Promise<unknown> {
  const all = { ...process.env, FKINV_ONNXRUNTIME: '', TMPDIR: path.join(cwd, 'tmp'), ...env };
  const { stdout } = await run(process.execPath, ['-e', script + code], { cwd, env: all });
  return JSON.parse(stdout) as unknown;
}

function says(t: ExecutionContext, failure: unknown, ...named: string[]): void {
  const { name, code, message } = failure as Record<'name' | 'code' | 'message', string>;
  t.deepEqual([name, code], ['FkinvError', 'CUDA_UNAVAILABLE'], JSON.stringify(failure));
  for (const one of named) t.true(message.includes(one), `"${one}" in "${message}"`);
  t.false(message.includes('\n'));
}

alone('it is nowhere: where it was looked for, and both ways to install it', async (t) => {
  const app = path.join(workspace, 'app without');
  await mkdir(path.join(app, 'tmp'), { recursive: true });
  says(
    t,
    await printed(app, 'print(open())'),
    ...[...providerLibraries, path.dirname(findOnnxRuntime()), root, app],
    `npm install ${packageName}@0.4.9`,
    'onnxruntime-node/script/install.js',
  );
});

alone('the package of the app does not load: which library is missing, what to install; the CPU goes on', async (t) => {
  const app = await addApp('app');
  const [first, second, device] = (await printed(
    app,
    `(async () => print([open(), open(), await onCpu()]))();`,
  )) as unknown[];
  const folder = path.join(app, 'node_modules', packageName, 'Plugins', 'Linux', 'x64');
  says(t, first, `in ${folder} does not load: libcunothing.so.13 is missing`, 'CUDA 13', 'cuDNN 9', 'LD_LIBRARY_PATH');
  t.deepEqual(second, first);
  t.is(device, 'cpu');
  t.deepEqual(await readdir(path.join(app, 'tmp')), []); // the links are gone
});

alone('a provider for CUDA 12 needs that', async (t) => {
  const app = await addApp('app of CUDA 12', 'libcunothing.so.12');
  says(t, await printed(app, 'print(open())'), 'libcunothing.so.12 is missing', 'CUDA 12 (cudart');
});

needs(isLinux && !isInstalled && native.cuda().driverServes === '', 'a machine without a driver')(
  'a provider that lacks the driver says so',
  async (t) => {
    const app = await addApp('app without driver', 'libcuda.so.1');
    says(t, await printed(app, 'print(open())'), 'libcuda.so.1 is missing', 'NVIDIA’s driver');
  },
);

alone('ONNX Runtime is open already, without: by onnxruntime-node', async (t) => {
  const app = await addApp('app too late');
  const library = findOnnxRuntime();
  const first = JSON.stringify(require.resolve('onnxruntime-node'));
  const failure = await printed(app, `require(${first}); print(open())`);
  says(t, failure, `was opened from ${path.dirname(library)} before`, 'before it', path.join(app, 'node_modules'));
  t.deepEqual(await readdir(path.join(app, 'tmp')), []);
});

alone('a CUDA device can follow the CPU', async (t) => {
  const app = await addApp('app of both devices');
  const failure = await printed(app, '(async () => { await onCpu(); print(open()); })();');
  says(t, failure, 'does not load: libcunothing.so.13 is missing'); // it was found, and joined
  t.deepEqual(await readdir(path.join(app, 'tmp')), []);
});

alone('beside ONNX Runtime it goes before the package', async (t) => {
  const app = await addApp('app with both');
  const own = path.join(workspace, 'own');
  await addProvider(own, 'libcuneither.so.13');
  const library = path.join(own, 'libonnxruntime.so.1');
  await symlink(findOnnxRuntime(), library);
  const failure = await printed(app, 'print(open())', { FKINV_ONNXRUNTIME: library });
  says(t, failure, `provider in ${own} does not load`, 'libcuneither.so.13 is missing');
});

alone('half of it is none of it', async (t) => {
  const app = await addApp('app with half');
  await rm(path.join(app, 'node_modules', packageName, 'Plugins', 'Linux', 'x64', providerLibraries[0] ?? ''));
  says(t, await printed(app, 'print(open())'), 'CUDA provider is missing');
});

needs(isLinux && isInstalled, packageName)('the package itself: it loads, or says what it needs', async (t) => {
  const app = path.join(workspace, 'app with the package itself');
  await mkdir(path.join(app, 'tmp'), { recursive: true });
  const [result, device] = (await printed(app, '(async () => print([open(), await onCpu()]))();')) as unknown[];
  if ((result as { library?: string }).library === undefined) {
    says(t, result, 'does not load: lib', 'CUDA 13', 'cuDNN 9');
  }
  t.is(device, 'cpu');
  t.deepEqual(await readdir(path.join(app, 'tmp')), []);
});
