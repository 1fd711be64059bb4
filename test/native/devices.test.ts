// Where the engine runs, as far as a machine without a GPU can tell: what of the answer is the driver's is a table here.
import test from 'ava';
import { Inverter } from '../../lib';
import { capabilityOf, faultOf, gpusOf, hasGpu } from '../../lib/native/devices';
import { FkinvError } from '../../lib/errors';
import { native, type NativeCuda } from '../../lib/native/addon';
import { deviceSchema, type Device } from '../../lib/options';
import { bells, fkinv, fkinvIn, quick } from '../helpers/fkinv';
import { needs } from '../helpers/needs';

const h100 = { name: 'NVIDIA H100', computeCapability: 90, bytes: 85e9 };
const usable: NativeCuda = {
  architectures: '75, 80, 86, 89, 90, 100, 120',
  runtime: '13.0',
  driver: '580.65.06',
  driverServes: '13.0',
  fault: '',
  gpus: [h100],
};
const bare: NativeCuda = { ...usable, driver: '', driverServes: '', gpus: [] };

const hasUsableGpu = faultOf(native.cuda(), 0) === undefined;
const here = needs(!hasUsableGpu, 'a machine without a GPU that can be used');

test('a GPU that fits can be used', (t) => {
  t.is(faultOf(usable, 0), undefined);
  t.is(faultOf({ ...usable, gpus: [h100, h100] }, 1), undefined);
});

const faults: [what: string, facts: NativeCuda, index: number, ...named: string[]][] = [
  ['a build without CUDA', { ...usable, architectures: '' }, 0, 'no CUDA kernels', 'FKINV_CUDA=1', 'device cpu'],
  ['no driver', bare, 0, 'no NVIDIA driver', '580 or later', 'device cpu'],
  ['an old driver', { ...usable, driver: '550.54', driverServes: '12.4' }, 0, '550.54', 'CUDA 12.4', '580 or later'],
  ['an old driver of no name', { ...usable, driver: '', driverServes: '12.9' }, 0, 'the NVIDIA driver is too old'],
  ['a driver that gives no GPU', { ...usable, fault: 'system driver mismatch (803)', gpus: [] }, 0, 'mismatch (803)'],
  ['no GPU', { ...usable, gpus: [] }, 0, 'finds no GPU', 'CUDA_VISIBLE_DEVICES'],
  ['a GPU too many', { ...usable, gpus: [h100, h100] }, 2, 'finds 2, cuda:0 to cuda:1', 'CUDA_VISIBLE_DEVICES'],
];
for (const [what, facts, index, ...named] of faults) {
  test(`why a GPU cannot be used: ${what}`, (t) => {
    const fault = faultOf(facts, index) ?? '';
    for (const name of named) t.true(fault.includes(name), `"${name}" in "${fault}"`);
    t.false(fault.includes('\n'));
  });
}

test('kernels run on GPUs of their own major version, and the last ones on all that came after', (t) => {
  const fits = (architectures: string, computeCapability: number): boolean =>
    faultOf({ ...usable, architectures, gpus: [{ ...h100, computeCapability }] }, 0) === undefined;
  for (const capability of [75, 80, 86, 87, 89, 90, 100, 103, 120, 121, 130])
    t.true(fits(usable.architectures, capability));
  for (const capability of [60, 70, 72, 110]) t.false(fits(usable.architectures, capability), String(capability));
  for (const capability of [86, 89, 90, 120]) t.true(fits('86', capability));
  for (const capability of [75, 80]) t.false(fits('86', capability));
  const fault = faultOf({ ...usable, gpus: [{ ...h100, name: 'Tesla V100', computeCapability: 70 }] }, 0) ?? '';
  for (const name of ['Tesla V100', '7.0', usable.architectures, 'FKINV_CUDA=1']) t.true(fault.includes(name), fault);
  t.is(capabilityOf(120), '12.0');
});

test('a GPU that the provider has no code for cannot be used, is not among those of auto, and is told why', (t) => {
  const b200 = { ...h100, name: 'NVIDIA B200', computeCapability: 100 };
  const facts = { ...usable, providerArchitectures: '75, 80, 86, 89, 90, 120' };
  const fits = (computeCapability: number): boolean =>
    faultOf({ ...facts, gpus: [{ ...h100, computeCapability }] }, 0) === undefined;
  for (const capability of [75, 80, 86, 87, 89, 90, 120, 121]) t.true(fits(capability), String(capability));
  for (const capability of [100, 103, 110, 130]) t.false(fits(capability), String(capability));
  for (const device of ['auto', 'cuda'] as const) t.deepEqual(gpusOf(device, { ...facts, gpus: [b200, h100] }), [1]);
  t.deepEqual(gpusOf('auto', { ...usable, gpus: [b200, h100] }), [0, 1]); // a provider of which nothing is known
  const fault = faultOf({ ...facts, gpus: [b200] }, 0) ?? '';
  for (const name of ['NVIDIA B200', '10.0', 'CUDA provider', facts.providerArchitectures, 'device cpu']) {
    t.true(fault.includes(name), fault);
  }
});

test('a GPU that cannot be used is worth a warning, and none is not', (t) => {
  t.true(hasGpu(usable));
  t.true(hasGpu({ ...usable, architectures: '' }));
  t.true(hasGpu({ ...usable, fault: 'system driver mismatch (803)', gpus: [] }));
  t.false(hasGpu(bare));
  t.false(hasGpu({ ...usable, gpus: [] }));
});

test('the names of devices', (t) => {
  for (const name of ['auto', 'cpu', 'cuda', 'cuda:0', 'cuda:12']) t.true(deviceSchema.safeParse(name).success, name);
  for (const name of ['', 'gpu', 'CUDA', 'cuda:', 'cuda:x', 'cuda:-1', 'cuda:1 ', 'cpu:0', 'cuda:1000', 0, null]) {
    t.false(deviceSchema.safeParse(name).success, String(name));
  }
});

test('cuda and auto are every GPU that can be used, and the first where none can; a number is that one', (t) => {
  const old = { ...h100, name: 'Tesla V100', computeCapability: 70 };
  const gpusOfAll: [NativeCuda['gpus'], number[]][] = [
    [[h100], [0]],
    [
      [h100, h100, h100],
      [0, 1, 2],
    ],
    [
      [old, h100, old, h100],
      [1, 3],
    ],
    [[old, old], [0]],
    [[], [0]],
  ];
  for (const [gpus, all] of gpusOfAll) {
    const facts = { ...usable, gpus };
    t.deepEqual(gpusOf('cuda', facts), all);
    t.deepEqual(gpusOf('auto', facts), all);
    t.deepEqual(gpusOf('cuda:0', facts), [0]);
    t.deepEqual(gpusOf('cuda:12', facts), [12]);
  }
});

test('what the driver says here fits together', (t) => {
  const { architectures, driverServes, gpus } = native.cuda();
  t.regex(architectures, /^(|\d+(, \d+)*)$/);
  t.regex(driverServes, /^(|\d+\.\d)$/);
  if (driverServes === '') t.deepEqual(gpus, []);
  for (const { name, computeCapability, bytes } of gpus) {
    t.true(name !== '' && computeCapability >= 50 && bytes > 2 ** 28, JSON.stringify(gpus));
  }
});

test('an Inverter says what it runs on', async (t) => {
  await using inverter = await Inverter.load({ device: 'cpu' });
  t.is(inverter.device, 'cpu');
  t.is((await inverter.profile(bells, { particles: 2, steps: 1 })).device, 'cpu');
});

test('cudaGraphs is without effect on the CPU, and true or false', async (t) => {
  await using inverter = await Inverter.load({ device: 'cpu', cudaGraphs: true });
  await using plain = await Inverter.load({ device: 'cpu' });
  const options = { particles: 2, steps: 3 };
  t.deepEqual((await inverter.invert(bells, options)).particles, (await plain.invert(bells, options)).particles);
  const { code, stderr } = await fkinv('invert', bells, ...quick, '--device', 'cpu', '--cuda-graphs', '--quiet');
  t.is(code, 0, stderr);
  const load = Inverter.load({ cudaGraphs: 'yes' as unknown as boolean });
  const message = 'options of load: cudaGraphs: must be true or false';
  await t.throwsAsync(load, { instanceOf: FkinvError, code: 'INVALID_OPTION', message });
});

test('prepacking changes nothing but the last bits, and is true or false', async (t) => {
  await using packed = await Inverter.load({ device: 'cpu' });
  await using mapped = await Inverter.load({ device: 'cpu', prepacking: false });
  const options = { particles: 2, steps: 3 };
  const [one, other] = [await packed.invert(bells, options), await mapped.invert(bells, options)];
  t.is(one.prompt, other.prompt);
  t.true(Math.abs(one.rewardClip - other.rewardClip) < 1e-4);
  const { code, stderr } = await fkinv('invert', bells, ...quick, '--no-prepacking', '--quiet');
  t.is(code, 0, stderr);
  const load = Inverter.load({ prepacking: 1 as unknown as boolean });
  const message = 'options of load: prepacking: must be true or false';
  await t.throwsAsync(load, { instanceOf: FkinvError, code: 'INVALID_OPTION', message });
});

test('a device of no name is refused', async (t) => {
  const load = Inverter.load({ device: 'gpu' as Device });
  const message = 'options of load: device: must be auto, cpu, cuda or cuda:<number>';
  await t.throwsAsync(load, { instanceOf: FkinvError, code: 'INVALID_OPTION', message });
});

here('auto is the CPU, and says nothing where there is no GPU at all', async (t) => {
  const warnings: string[] = [];
  await using inverter = await Inverter.load({ onWarning: (message) => warnings.push(message) });
  t.is(inverter.device, 'cpu');
  t.is(warnings.length, hasGpu(native.cuda()) ? 1 : 0);
});

here('cuda fails, with the reason and what to do', async (t) => {
  for (const device of ['cuda', 'cuda:1'] as const) {
    const error = await t.throwsAsync(Inverter.load({ device }), { instanceOf: FkinvError, code: 'CUDA_UNAVAILABLE' });
    const [index] = gpusOf(device, native.cuda());
    t.is(error.message, `device cuda:${index}: ${faultOf(native.cuda(), index) ?? ''}`);
  }
});

here('every command that loads models takes it', async (t) => {
  for (const args of [['invert', bells, ...quick], ['profile', bells, ...quick], ['models']]) {
    const failed = await fkinv(...args, '--device', 'cuda');
    t.is(failed.code, 1, args.join(' '));
    t.is(failed.stdout, '');
    t.regex(failed.stderr, /^error: device cuda:0: .*\(CUDA_UNAVAILABLE\)\n$/);
    t.is((await fkinv(...args, '--device', 'cpu')).code, 0);
    const wrong = await fkinv(...args, '--device=gpu');
    t.deepEqual([wrong.code, wrong.stdout], [2, '']);
    t.regex(wrong.stderr, /'gpu' is invalid\. It must be auto, cpu, cuda or cuda:<number>\.\n$/);
  }
  const doctor = await fkinv('doctor', '--device', 'cuda');
  t.is(doctor.code, 1);
  t.regex(doctor.stdout, /^✗ device +device cuda:0: .* \(CUDA_UNAVAILABLE\)\n +→ /m);
  t.regex(doctor.stdout, /^– inversion +not run: device comes first$/m);
});

test('no GPU is visible: auto is the CPU, whatever the machine has', async (t) => {
  const { code, stderr } = await fkinvIn({ CUDA_VISIBLE_DEVICES: '' }, 'invert', bells, ...quick);
  t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
});
