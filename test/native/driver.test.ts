// What a driver says, and what comes of it: a stand-in for NVIDIA's libraries, which says what the environment has it say.
import { execFile } from 'node:child_process';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import type { DoctorReport } from '../../lib/examine/installation';
import { native, type NativeCuda } from '../../lib/native/addon';
import { bells, fkinvIn, node, quick, root } from '../helpers/fkinv';
import { needs } from '../helpers/needs';

const run = promisify(execFile);
const linux = needs(process.platform === 'linux', 'Linux, whose loader LD_LIBRARY_PATH tells where to look');
/** Every build warns of these GPUs: for want of kernels, or else of a provider or of a driver that is a driver. */
const gpus = [
  { name: 'NVIDIA Stand-in 0', computeCapability: 90, bytes: 2 ** 36 },
  { name: 'NVIDIA Stand-in 1', computeCapability: 75, bytes: 2 ** 34 },
];

const driver = `
  #include <stdio.h>
  #include <stdlib.h>
  static int given(const char* name) { const char* text = getenv(name); return text == NULL ? 0 : atoi(text); }
  int cuInit(unsigned flags) { return flags != 0 ? 1 : given("STAND_IN_STATUS"); }
  int cuDriverGetVersion(int* version) { *version = given("STAND_IN_VERSION"); return 0; }
  int cuDeviceGetCount(int* count) { *count = given("STAND_IN_GPUS"); return 0; }
  int cuDeviceGet(int* device, int index) { *device = 40 + index; return 0; }
  int cuDeviceGetName(char* name, int size, int device) {
    snprintf(name, size, "NVIDIA Stand-in %d", device - 40);
    return 0;
  }
  int cuDeviceGetAttribute(int* value, int attribute, int device) {
    const int capability = device == 40 ? 90 : 75;
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : -1;
    return 0;
  }
  int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = (size_t)1 << (device == 40 ? 36 : 34); return 0; }
  int cuGetErrorString(int status, const char** text) { *text = "the stand-in does not start"; return status == 0; }
`;
const management = `
  #include <stdio.h>
  int nvmlInit_v2(void) { return 0; }
  int nvmlShutdown(void) { return 0; }
  int nvmlSystemGetDriverVersion(char* version, unsigned size) { snprintf(version, size, "550.54.14"); return 0; }
`;

let folder: string;
test.before(async () => {
  folder = await mkdtemp(path.join(await realpath(tmpdir()), 'fkinv-driver-'));
  if (process.platform !== 'linux') return;
  for (const [name, source] of Object.entries({ 'libcuda.so.1': driver, 'libnvidia-ml.so.1': management })) {
    const file = path.join(folder, name);
    await writeFile(`${file}.c`, source);
    await run('cc', ['-shared', '-fPIC', '-o', file, `${file}.c`]);
  }
});
test.after.always(() => rm(folder, { recursive: true }));

/** The environment of a process with such a driver. */
function having(version: number, count: number, status = 0): NodeJS.ProcessEnv {
  return {
    LD_LIBRARY_PATH: folder,
    STAND_IN_VERSION: String(version),
    STAND_IN_GPUS: String(count),
    STAND_IN_STATUS: String(status),
  };
}

async function factsOf(env: NodeJS.ProcessEnv): Promise<NativeCuda> {
  const code = `console.log(JSON.stringify(require(${JSON.stringify(path.join(root, 'dist', 'native', 'addon.js'))}).native.cuda()))`;
  return JSON.parse((await node(['-e', code], env)).stdout) as NativeCuda;
}

linux('what a driver says of itself and of its GPUs', async (t) => {
  const { architectures, runtime } = native.cuda();
  const driven = { architectures, runtime, driver: '550.54.14', fault: '', gpus: [] };
  t.deepEqual(await factsOf(having(13000, 2)), { ...driven, driverServes: '13.0', gpus });
  t.deepEqual(await factsOf(having(12040, 1)), { ...driven, driverServes: '12.4', gpus: gpus.slice(0, 1) });
  t.deepEqual(await factsOf(having(13010, 0)), { ...driven, driverServes: '13.1' });
  t.deepEqual(await factsOf(having(13000, 2, 100)), { ...driven, driverServes: '13.0' }); // CUDA_ERROR_NO_DEVICE
  const fault = 'the stand-in does not start (803)';
  t.deepEqual(await factsOf(having(13000, 2, 803)), { ...driven, driverServes: '13.0', fault });
});

linux('auto is the CPU where the GPU cannot be used, with one line of warning', async (t) => {
  for (const [i, env] of [having(12040, 1), having(12040, 2), having(12040, 1, 803)].entries()) {
    const { code, stdout, stderr } = await fkinvIn(env, 'invert', bells, ...quick);
    t.is(code, 0);
    t.regex(stdout, /\n {2}rewardClip /);
    t.regex(stderr, /^warning: device auto is the CPU, though there is a GPU \(.+\): device cuda:0: .+\n$/);
    t.is(stderr.split('\n').length, 2, stderr);
    if (i > 0) continue;
    const quiet = await fkinvIn(env, 'invert', bells, ...quick, '--quiet');
    t.deepEqual([quiet.code, quiet.stderr], [0, '']);
    const onCpu = await fkinvIn(env, 'invert', bells, ...quick, '--device', 'cpu');
    t.deepEqual([onCpu.code, onCpu.stderr], [0, '']);
    const onGpu = await fkinvIn(env, 'invert', bells, ...quick, '--device', 'cuda');
    t.deepEqual([onGpu.code, onGpu.stdout], [1, '']);
    t.regex(onGpu.stderr, /^error: device cuda:0: .+ \(CUDA_UNAVAILABLE\)\n$/);
  }
});

linux('a driver without a GPU is nothing to warn of', async (t) => {
  for (const env of [having(13000, 0), having(12040, 1, 100)]) {
    const { code, stderr } = await fkinvIn(env, 'invert', bells, ...quick);
    t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  }
});

linux('in a program the warning is one of the process, or onWarning’s', async (t) => {
  const script = (options: string): string => `
    const warnings = [];
    process.removeAllListeners('warning').on('warning', ({ name, message }) => warnings.push([name, message]));
    require('fkinv-native').Inverter.load(${options}).then(async (inverter) => {
      await inverter.dispose();
      setImmediate(() => console.log(JSON.stringify([inverter.device, warnings])));
    });`;
  const env = having(12040, 1);
  const [device, warnings] = JSON.parse((await node(['-e', script('{}')], env)).stdout) as [string, string[][]];
  t.is(device, 'cpu');
  t.is(warnings.length, 1);
  t.is(warnings[0]?.[0], 'FkinvWarning');
  t.regex(warnings[0]?.[1] ?? '', /^device auto is the CPU, though there is a GPU \(NVIDIA Stand-in 0\): /);
  const own = script(`{ onWarning: (message) => warnings.push(['own', message]) }`);
  t.deepEqual(JSON.parse((await node(['-e', own], env)).stdout), ['cpu', [['own', warnings[0]?.[1]]]]);
});

linux('doctor says what is there and why auto is the CPU, and all is well', async (t) => {
  const { code, stdout, stderr } = await fkinvIn(having(12040, 2), 'doctor', '--json');
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const report = JSON.parse(stdout) as DoctorReport;
  t.is(report.device, 'cpu');
  t.deepEqual(report.cuda?.gpus, gpus);
  const detailOf = (name: string): string => report.checks.find((check) => check.name === name)?.detail ?? '';
  t.regex(
    detailOf('cuda'),
    /; driver 550\.54\.14 for CUDA 12\.4; cuda:0 NVIDIA Stand-in 0 \(9\.0, 68\.7 GB\); cuda:1 /,
  );
  t.regex(detailOf('device'), /^device auto is the CPU, though there is a GPU \(NVIDIA Stand-in 0\): /);
});
