// Each fault is made for real, in a copy of the package that shares this checkout's dependencies.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import sharp from 'sharp';
import type { Check } from '../../lib/examine/checks';
import type { DoctorReport } from '../../lib/examine/installation';
import { errorCodes } from '../../lib/errors';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { blocksUnder } from '../helpers/documents';
import { node, root } from '../helpers/fkinv';

const fixtures = path.join(__dirname, '..', 'fixtures', 'models');

let workspace: string;
let count = 0;
test.before(async () => (workspace = await mkdtemp(path.join(await realpath(tmpdir()), 'fkinv-doctor-')))); // a link on macOS
test.after.always(() => rm(workspace, { recursive: true }));

const cli = (at: string): string => path.join(at, 'dist', 'cli.js');

/** The report of `fkinv doctor --json` of the package `at`. */
async function examine(
  t: ExecutionContext,
  at: string,
  { args = [], env = {}, before = [] }: { args?: string[]; env?: NodeJS.ProcessEnv; before?: string[] } = {},
): Promise<DoctorReport> {
  const { code, stdout, stderr } = await node([...before, cli(at), 'doctor', '--json', ...args], env);
  const report = JSON.parse(stdout) as DoctorReport;
  t.is(stderr, '');
  t.is(code, report.ok ? 0 : 1);
  t.is(
    report.ok,
    report.checks.every(({ ok }) => ok),
  );
  t.deepEqual(
    report.checks.map(({ name }) => name).filter((name) => !optional.has(name)),
    names,
  );
  for (const check of report.checks) {
    t.is(
      check.ok ? undefined : check.detail.startsWith('not run: '),
      check.ok ? undefined : check.remedy === undefined,
    );
    t.false(check.detail.includes('\n'));
    if (check.code !== undefined) t.true(check.code in errorCodes);
  }
  return report;
}
const names = ['node', 'addon', 'onnxruntime', 'sharp', 'tokenizers', 'kernels', 'cuda', 'device'].concat([
  'clip files',
  'dllm files',
  'clip graphs',
  'dllm graphs',
  'inversion',
]);
/** Of graphs that load. */
const optional = new Set(['clip parity', 'dllm parity']);

function check({ checks }: DoctorReport, name: string): Check {
  return checks.find((one) => one.name === name) ?? { name, ok: false, detail: 'no such check' };
}

function failed({ checks }: DoctorReport): string[] {
  return checks.filter(({ remedy }) => remedy !== undefined).map(({ name }) => name);
}

/** A copy of the package without what `without` names; its dependencies are links to this checkout's. */
async function copyOfPackage({
  without = '',
  addon = true,
  models = true,
}: {
  without?: string;
  addon?: boolean;
  models?: boolean;
} = {}): Promise<string> {
  const at = path.join(workspace, `package-${++count}`);
  await mkdir(path.join(at, 'node_modules'), { recursive: true });
  for (const name of ['dist', 'package.json', 'examples'])
    await cp(path.join(root, name), path.join(at, name), { recursive: true });
  if (models) await cp(path.join(root, 'models'), path.join(at, 'models'), { recursive: true });
  else await symlink(path.join(root, 'models'), path.join(at, 'models'));
  for (const name of await readdir(path.join(root, 'node_modules'))) {
    if (name === without) continue;
    await symlink(path.join(root, 'node_modules', name), path.join(at, 'node_modules', name));
  }
  if (addon) {
    await mkdir(path.join(at, 'build'));
    await symlink(path.join(root, 'build', 'Release'), path.join(at, 'build', 'Release'));
  }
  return at;
}

/** Makes the shared library `file` of C. */
async function compile(file: string, source: string): Promise<void> {
  const code = path.join(workspace, `${path.basename(file)}.c`);
  await writeFile(code, source);
  await promisify(execFile)('cc', ['-shared', '-fPIC', '-o', file, code]);
}

let ofThisPackage: DoctorReport | undefined;

test.serial('all is well here, and the report has what a report of a fault needs', async (t) => {
  const report = await examine(t, root);
  ofThisPackage = report;
  t.true(report.ok, JSON.stringify(report.checks));
  const { version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as { version: string };
  t.like(report, { version, node: process.versions.node, platform: `${process.platform}-${process.arch}` });
  t.regex(report.nodeApi, /^\d+$/);
  if (process.platform === 'linux') t.regex(report.libc ?? '', /^(glibc|musl) \d+\.\d+/);
  t.true(report.processors >= 1 && report.memory.totalBytes >= report.memory.freeBytes);
  t.regex(report.addon?.path ?? '', /\.node$/);
  t.regex(report.addon?.compiler ?? '', /^(GCC|Clang|MSVC) \d/);
  t.true(['SSE2', 'AVX2', 'AVX-512', 'NEON', 'scalar'].includes(report.addon?.baseline ?? ''));
  t.is(report.kernels?.instructionSets[0], 'baseline');
  t.true(report.kernels?.instructionSets.includes(report.kernels.instructionSet));
  t.regex(report.onnxRuntime?.version ?? '', /^1\.\d+\.\d+$/);
  t.deepEqual(report.onnxRuntime?.others, []);
  t.regex(report.sharp?.version ?? '', /^\d/);
  t.is(typeof report.cuda?.architectures, 'string');
  t.regex(report.device ?? '', /^(cpu|cuda:\d+(, cuda:\d+)*)$/);
  t.regex(check(report, 'inversion').detail, /two bells/);
});

test.serial('the hashes are those of the files, and every file of the embedded models has one', async (t) => {
  const { models } = ofThisPackage ?? t.fail();
  for (const { folder, files } of Object.values(models)) {
    const all = (await readdir(folder)).filter((name) => name !== 'SHA256SUMS');
    t.deepEqual(files.map(({ name }) => name).sort(), all.sort());
    for (const { name, bytes, sha256 } of files) {
      const content = await readFile(path.join(folder, name));
      t.is(bytes, content.length);
      t.is(sha256, createHash('sha256').update(content).digest('hex'));
    }
    const sums = await readFile(path.join(folder, 'SHA256SUMS'), 'utf8');
    t.deepEqual(sums.trim().split('\n').sort(), files.map(({ name, sha256 }) => `${sha256}  ${name}`).sort());
  }
});

test('for people: a line a check, no colours when piped, nothing on stderr, and as docs/install.md shows', async (t) => {
  const { code, stdout, stderr } = await node([cli(root), 'doctor'], { CI: '1' });
  t.is(code, 0);
  t.is(stderr, '');
  t.false(stdout.includes('\u001b'));
  const lines = stdout.trim().split('\n');
  t.regex(lines[0] ?? '', /^fkinv-native \d/);
  t.is(lines.filter((line) => line.startsWith('✓ ')).length, names.length + optional.size);
  t.is(lines.at(-1), 'All is well.');
  const [shown] = blocksUnder('docs/install.md', 'Checking an installation');
  t.is(shown?.code, 'npx fkinv doctor\n');
  t.is(masked(shown?.output ?? ''), masked(stdout));
});

/** Without what is of the machine. */
function masked(output: string): string {
  const [title = '', , , ...checks] = output.split('\n');
  const ofMachine = /^(✓ (?:node|addon|onnxruntime|sharp|cuda|device) +).*$/gm;
  return [title.replace(/[\d.]+$/, '#'), ...checks]
    .join('\n')
    .replaceAll(ofMachine, '$1#')
    .replace(/^(✓ kernels +).*\), /m, '$1#, ')
    .replaceAll(/off by at most \S+/g, 'off by at most #');
}

test('a working directory that was deleted', async (t) => {
  if (process.platform === 'win32') return t.pass(); // which lets nobody delete it
  const script = `mkdir "$1" && cd "$1" && rmdir "$1" && exec "$2" "$3" doctor --json`;
  const words = [path.join(workspace, 'deleted'), process.execPath, cli(root)];
  const { stdout } = await promisify(execFile)('sh', ['-c', script, 'sh', ...words]);
  const report = JSON.parse(stdout) as DoctorReport;
  t.true(report.ok, JSON.stringify(report.checks));
  t.true(check(report, 'addon').detail.startsWith(root));
});

test('models of one’s own', async (t) => {
  const args = ['--dllm', path.join(fixtures, 'dllm'), '--clip', path.join(fixtures, 'clip')];
  const report = await examine(t, root, { args });
  t.true(report.ok, JSON.stringify(report.checks));
  t.is(report.models.dllm.folder, path.join(fixtures, 'dllm'));
  t.regex(check(report, 'dllm parity').detail, /not checked/);
});

test('no addon: the rest is looked at, and the commands say what to do', async (t) => {
  const at = await copyOfPackage({ addon: false, models: false });
  const report = await examine(t, at);
  t.deepEqual(failed(report), ['addon']);
  t.like(check(report, 'addon'), { code: 'ADDON_NOT_FOUND', remedy: errorCodes.ADDON_NOT_FOUND });
  t.regex(check(report, 'addon').detail, /neither in build\/Release nor in prebuilds/);
  t.is(report.addon, null);
  t.is(report.onnxRuntime?.version, null);
  t.true(report.models.dllm.files.length > 0);
  t.is(check(report, 'inversion').detail, 'not run: addon comes first');

  const text = await node([cli(at), 'doctor']);
  t.is(text.code, 1);
  t.regex(text.stdout, /^✗ addon .*\n +→ .*build one with node .*scripts\/install\.mjs/m);
  t.regex(text.stdout, /1 of 13 checks failed\.\n$/);
  for (const args of [['--help'], ['--version'], ['doctor', '--help']]) t.is((await node([cli(at), ...args])).code, 0);
  for (const args of [['models'], ['invert', 'examples/bells.png']]) {
    const { code, stderr } = await node([cli(at), ...args]);
    t.is(code, 1);
    t.regex(stderr, /^error: .*build one with node .*scripts\/install\.mjs.*\(ADDON_NOT_FOUND\)\n$/);
  }
});

test('an addon that does not load', async (t) => {
  const at = await copyOfPackage({ addon: false, models: false });
  await mkdir(path.join(at, 'build', 'Release'), { recursive: true });
  await writeFile(path.join(at, 'build', 'Release', 'fkinv_native.node'), 'no library');
  const report = await examine(t, at);
  t.deepEqual(failed(report), ['addon']);
  t.regex(check(report, 'addon').detail, /fkinv_native\.node does not load: /);
  t.regex(check(report, 'addon').remedy ?? '', /node ".*scripts.install\.mjs"/);
});

test('an addon that crashes', async (t) => {
  const at = await copyOfPackage({ addon: false, models: false });
  const file = path.join(at, 'build', 'Release', 'fkinv_native.node');
  await mkdir(path.dirname(file), { recursive: true });
  await compile(file, '#include <stdlib.h>\n__attribute__((constructor)) static void crash(void) { abort(); }');
  const report = await examine(t, at);
  t.deepEqual(failed(report), ['addon']);
  t.regex(check(report, 'addon').detail, /ended the process that loaded it with SIGABRT$/);
});

test('FKINV_ONNXRUNTIME names nothing', async (t) => {
  const report = await examine(t, root, { env: { FKINV_ONNXRUNTIME: '/no/such/library.so' } });
  t.deepEqual(failed(report), ['onnxruntime']);
  t.is(check(report, 'onnxruntime').code, 'ORT_NOT_FOUND');
  t.regex(check(report, 'onnxruntime').remedy ?? '', /^Unset FKINV_ONNXRUNTIME/);
  t.true(check(report, 'kernels').ok);
  t.is(check(report, 'dllm graphs').detail, 'not run: onnxruntime comes first');
});

test('another ONNX Runtime is there that other packages use', async (t) => {
  const library = path.join(workspace, path.basename(findOnnxRuntime()));
  await cp(findOnnxRuntime(), library);
  const report = await examine(t, root, { env: { FKINV_ONNXRUNTIME: library } });
  t.deepEqual(failed(report), []);
  const folder = path.dirname(await realpath(require.resolve('onnxruntime-node/package.json')));
  const { version } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8')) as { version: string };
  t.deepEqual(report.onnxRuntime?.others, [{ version, folder }]);
  t.true(check(report, 'onnxruntime').detail.includes(`; onnxruntime-node ${version} in `));
});

test('FKINV_INSTRUCTION_SET names another instruction set, and one that there is not', async (t) => {
  const baseline = await examine(t, root, { env: { FKINV_INSTRUCTION_SET: 'baseline' } });
  t.true(baseline.ok, JSON.stringify(baseline.checks));
  t.is(baseline.kernels?.instructionSet, 'baseline');
  t.regex(check(baseline, 'kernels').detail, /^baseline \(of baseline/);
  const none = await examine(t, root, { env: { FKINV_INSTRUCTION_SET: 'sse9' } });
  t.deepEqual(failed(none), ['kernels']);
  t.is(check(none, 'kernels').code, 'INVALID_OPTION');
  t.regex(check(none, 'kernels').detail, /^FKINV_INSTRUCTION_SET: must be one of baseline/);
  t.is(check(none, 'inversion').detail, 'not run: kernels comes first');
});

test('ONNX Runtime is too old', async (t) => {
  const library = path.join(workspace, 'libold.so');
  await compile(
    library,
    `#include <stdint.h>
    static const void* api(uint32_t version) { return 0; }
    static const char* version(void) { return "1.17.0"; }
    static const struct { const void* (*a)(uint32_t); const char* (*b)(void); } base = {api, version};
    const void* OrtGetApiBase(void) { return &base; }`,
  );
  const report = await examine(t, root, { env: { FKINV_ONNXRUNTIME: library } });
  t.deepEqual(failed(report), ['onnxruntime']);
  t.is(check(report, 'onnxruntime').code, 'ORT_VERSION');
  t.regex(check(report, 'onnxruntime').detail, /ONNX Runtime 1\.17\.0 was found/);
});

test('a dependency is missing', async (t) => {
  const withoutSharp = await examine(t, await copyOfPackage({ without: 'sharp', models: false }));
  t.deepEqual(failed(withoutSharp), ['sharp']);
  t.regex(check(withoutSharp, 'sharp').remedy ?? '', /npm install/);
  t.true(check(withoutSharp, 'kernels').ok);
  const withoutTokenizers = await examine(t, await copyOfPackage({ without: '@huggingface', models: false }));
  t.deepEqual(failed(withoutTokenizers), ['tokenizers']);
  t.regex(check(withoutTokenizers, 'tokenizers').remedy ?? '', /npm install/);
  const withoutRuntime = await examine(t, await copyOfPackage({ without: 'onnxruntime-node', models: false }));
  t.deepEqual(failed(withoutRuntime), ['onnxruntime']);
  t.is(check(withoutRuntime, 'onnxruntime').code, 'ORT_NOT_FOUND');
});

test('Node is too old', async (t) => {
  const preload = path.join(workspace, 'old-node.cjs');
  await writeFile(
    preload,
    "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.9.1' } });",
  );
  const report = await examine(t, root, { before: ['--require', preload] });
  t.deepEqual(failed(report), ['node']);
  t.regex(check(report, 'node').detail, /^Node 20\.9\.1 is older/);
  t.regex(check(report, 'node').remedy ?? '', /Install Node 20\.19 or newer/);
});

test('a file of an embedded model is damaged, missing, or its hashes are no hashes', async (t) => {
  const at = await copyOfPackage();
  const file = path.join(at, 'models', 'dllm', 'model.onnx');
  const content = await readFile(file);
  content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
  await writeFile(file, content);
  const damaged = await examine(t, at);
  t.deepEqual(failed(damaged), ['dllm files']);
  t.is(check(damaged, 'dllm files').code, 'MODEL_INVALID');
  t.true(check(damaged, 'dllm files').detail.includes(file));
  t.true(check(damaged, 'clip parity').ok);
  t.is(damaged.models.dllm.files.find(({ name }) => name === 'model.onnx')?.bytes, content.length);

  await rm(file);
  const missing = await examine(t, at);
  t.deepEqual(failed(missing), ['dllm files']);
  t.is(check(missing, 'dllm files').code, 'MODEL_NOT_FOUND');

  await writeFile(path.join(at, 'models', 'dllm', 'SHA256SUMS'), `${'0'.repeat(64)}  ../clip/config.json\n`);
  const outside = await examine(t, at);
  t.regex(check(outside, 'dllm files').detail, /SHA256SUMS: line 1 is no SHA-256/);
});

test('a model folder that is not there, or is broken', async (t) => {
  const missing = await examine(t, root, { args: ['--dllm', path.join(workspace, 'nowhere')] });
  t.deepEqual(failed(missing), ['dllm files']);
  t.is(check(missing, 'dllm files').code, 'MODEL_NOT_FOUND');
  t.true(check(missing, 'clip graphs').ok);

  const broken = path.join(workspace, 'broken-clip');
  await cp(path.join(fixtures, 'clip'), broken, { recursive: true });
  await writeFile(path.join(broken, 'text_model.onnx'), 'no graph');
  const report = await examine(t, root, { args: ['--clip', broken] });
  t.deepEqual(failed(report), ['clip graphs']);
  t.is(check(report, 'clip graphs').code, 'MODEL_INVALID');
  t.is(check(report, 'dllm graphs').detail, 'not run: clip graphs comes first');
});

test('a picture that the embedded models do not recover', async (t) => {
  const at = await copyOfPackage({ models: false });
  const black = { create: { width: 8, height: 8, channels: 3, background: 'black' } } as const;
  await sharp(black)
    .png()
    .toFile(path.join(at, 'examples', 'bells.png'));
  const report = await examine(t, at);
  t.deepEqual(failed(report), ['inversion']);
  t.is(check(report, 'inversion').code, 'INTERNAL');
  t.regex(check(report, 'inversion').detail, /has rewardClip 0\.\d+, below 0\.85$/);
});

test('a model that cannot be inverted with, and a picture that is missing', async (t) => {
  const dllm = path.join(workspace, 'nan-dllm');
  await cp(path.join(fixtures, 'dllm'), dllm, { recursive: true });
  await cp(path.join(fixtures, 'graphs', 'dllm_nan.onnx'), path.join(dllm, 'model.onnx'));
  const config = path.join(dllm, 'config.json');
  const fields = JSON.parse(await readFile(config, 'utf8')) as Record<string, unknown>;
  await writeFile(config, JSON.stringify({ ...fields, condition: undefined }));
  const nan = await examine(t, root, { args: ['--dllm', dllm, '--clip', path.join(fixtures, 'clip')] });
  t.deepEqual(failed(nan), ['inversion']);
  t.like(check(nan, 'inversion'), { code: 'INVALID_LOGITS', remedy: errorCodes.INVALID_LOGITS });

  const at = await copyOfPackage({ models: false });
  await rm(path.join(at, 'examples', 'bells.png'));
  const report = await examine(t, at);
  t.deepEqual(failed(report), ['inversion']);
  t.is(check(report, 'inversion').code, 'IMAGE_NOT_FOUND');
});
