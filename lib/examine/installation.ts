import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import nodeGypBuild from 'node-gyp-build';
import type Sharp from 'sharp';
import { Examination, Fault, fromHere, type Check } from './checks';
import { environment } from '../util/environment';
import { errorCodes, FkinvError, messageOf } from '../errors';
import type { Place } from './graphs';
import { examineFiles, noFiles, type FilesReport, type ModelFile, type ModelKind } from './files';
import { ModelFolder } from '../models/model-folder';
import { parseModelName } from '../models/model-name';
import { openCached } from '../store/cached-model';
import { storeSettings } from '../store/settings';
import type { NativeBuild, NativeCuda } from '../native/addon';
import { besideOnnxRuntime, findOnnxRuntime, otherOnnxRuntimes, type OtherOnnxRuntime } from '../native/onnxruntime';
import { findInstalledProvider, type CudaProvider } from '../native/provider-files';
import type { Device, InvertOptions } from '../options';
import { systemFacts, type SystemFacts } from './system';

// What is wrong with an installation, and what to do. The addon, ONNX Runtime, sharp, the tokenizers and the models may each
// be what is wrong, so nothing here imports them but inside the checks that are about them, or once those are ok.

/** Folders of the models to look at, default the embedded ones, and the device to run them on, default `auto`. */
export interface DoctorOptions {
  dllm?: string;
  clip?: string;
  device?: Device;
}

/** What was found. What could not be looked at is null, or empty. */
export interface DoctorReport extends SystemFacts {
  /** Whether every check passed. */
  ok: boolean;
  /** This package's version. */
  version: string;
  addon: (NativeBuild & { path: string }) | null;
  /** The instruction set that the kernels run in, and those that this processor has, the best one last. */
  kernels: { instructionSet: string; instructionSets: string[] } | null;
  onnxRuntime: OnnxRuntime | null;
  /** What of CUDA is here, and the folder of ONNX Runtime's CUDA provider. */
  cuda: (NativeCuda & { provider: string | null }) | null;
  /** What the models run on: `cpu`, or a GPU as `cuda:0`, or several as `cuda:0, cuda:1`. */
  device: string | null;
  sharp: { version: string; libvips: string } | null;
  models: Record<ModelKind, { folder: string; files: ModelFile[] }>;
  checks: Check[];
}

interface OnnxRuntime {
  path: string;
  /** The release that the library says it is; null where the addon could not open it. */
  version: string | null;
  /** Other releases that the working directory's packages use. */
  others: OtherOnnxRuntime[];
}

/** The models, and what was found of their files. */
type Models = Record<ModelKind, { folder: ModelFolder; report: FilesReport }>;

const root = path.join(__dirname, '..', '..');

/** Looks at the whole installation. What fails is a check of the report, and the rest still runs. */
export async function examineInstallation(options: DoctorOptions = {}): Promise<DoctorReport> {
  const exam = new Examination();
  const { version, engines } = packageFile();
  await exam.run('node', [], () => checkNode(engines.node));
  const addon = (await exam.run('addon', [], checkAddon)) ?? null;
  const wanted = options.device ?? 'auto';
  const onnxRuntime = (await exam.run('onnxruntime', [], () => checkOnnxRuntime(addon !== null, wanted))) ?? null;
  const sharp = (await exam.run('sharp', [], checkSharp)) ?? null;
  await exam.run('tokenizers', [], checkTokenizers);
  const kernels = (await exam.run('kernels', ['addon'], checkKernels)) ?? null;
  const cuda = (await exam.run('cuda', ['addon'], checkCuda)) ?? null;
  const device = (await exam.run('device', ['addon', 'onnxruntime', 'kernels'], () => checkDevice(wanted))) ?? null;
  const clip = await modelAt(exam, 'clip', options.clip, wanted);
  const dllm = await modelAt(exam, 'dllm', options.dllm, wanted);
  await examineModels(exam, { clip, dllm }, options, wanted);
  return {
    ok: exam.ok,
    version,
    ...systemFacts(),
    addon,
    kernels,
    onnxRuntime,
    cuda,
    device,
    sharp,
    models: { dllm: filesIn(dllm), clip: filesIn(clip) },
    checks: exam.checks,
  };
}

function packageFile(): { version: string; engines: { node: string } } {
  return JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as ReturnType<typeof packageFile>;
}

type Found<T> = readonly [detail: string, value: T];

/** `range` is such as `>=20.19`. */
function checkNode(range: string): Found<undefined> {
  const { node, napi = 'none' } = process.versions;
  const least = range.replace('>=', '');
  if (node.localeCompare(least, 'en', { numeric: true }) >= 0) return [`${node}, Node-API ${napi}`, undefined];
  throw new Fault(
    `Node ${node} is older than this package needs`,
    `Install Node ${least} or newer: https://nodejs.org`,
  );
}

async function checkAddon(): Promise<Found<DoctorReport['addon']>> {
  const file = addonFile();
  expectNoCrash(file);
  try {
    const { native } = await import('../native/addon.js');
    const build = native.build();
    return [`${fromHere(file)}, ${build.compiler}, ${build.baseline}`, { path: file, ...build }];
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new Fault(`${fromHere(file)} does not load: ${messageOf(cause)}`, rebuild, 'ADDON_NOT_FOUND');
  }
}

const rebuild =
  'Most often it is damaged, or made for another machine, C library or release: build one for this machine with node ' +
  `"${path.join(root, 'scripts', 'install.mjs')}", CMake and a C++20 compiler.`;

/** Loads the addon in a process of its own first: one that crashes must not take the report with it. */
function expectNoCrash(file: string): void {
  const { signal } = spawnSync(process.execPath, ['-e', `require(${JSON.stringify(file)})`], { stdio: 'ignore' });
  if (signal === null) return;
  throw new Fault(`${fromHere(file)} ended the process that loaded it with ${signal}`, rebuild, 'ADDON_NOT_FOUND');
}

function addonFile(): string {
  try {
    return nodeGypBuild.resolve(root);
  } catch {
    throw new Fault(
      `${fromHere(root)} has no addon for ${process.platform}-${process.arch}, neither in build/Release nor in prebuilds`,
      errorCodes.ADDON_NOT_FOUND,
      'ADDON_NOT_FOUND',
    );
  }
}

async function checkCuda(): Promise<Found<DoctorReport['cuda']>> {
  const { native } = await import('../native/addon.js');
  const { capabilityOf } = await import('../native/devices.js');
  const facts = native.cuda();
  const { architectures, runtime, driver, driverServes, fault, gpus } = facts;
  const provider = installedProvider();
  const details = [
    architectures === '' ? 'no kernels in this build' : `kernels of CUDA ${runtime} for ${architectures}`,
    driverServes === '' ? 'no driver' : `driver ${driver || 'of unknown release'} for CUDA ${driverServes}`,
    ...(fault === '' ? [] : [fault]),
    ...gpus.map(({ name, computeCapability, bytes }, i) => {
      return `cuda:${i} ${name} (${capabilityOf(computeCapability)}, ${(bytes / 1e9).toFixed(1)} GB)`;
    }),
    provider === undefined ? 'no provider of ONNX Runtime' : describeProvider(provider),
  ];
  return [details.join('; '), { ...facts, provider: provider?.folder ?? null }];
}

function installedProvider(): CudaProvider | undefined {
  try {
    return findInstalledProvider(findOnnxRuntime());
  } catch {
    return undefined; // its own check says why there is no ONNX Runtime
  }
}

function describeProvider({ folder, architectures }: CudaProvider): string {
  return `provider ${fromHere(folder)}${architectures === undefined ? '' : ` for ${architectures}`}`;
}

/** Makes engines on it. That `auto` is the CPU is no fault; where there is a GPU, it is told why. */
async function checkDevice(wanted: Device): Promise<Found<string>> {
  const { createEngines } = await import('../native/create-engines.js');
  let why: string | undefined;
  const engines = createEngines({ threads: 1, device: wanted, warn: (message) => (why = message) });
  const device = engines.map((engine) => engine.device).join(', ');
  await Promise.all(engines.map((engine) => engine.dispose()));
  return [why ?? (wanted === 'auto' ? `${device}, as auto chooses` : device), device];
}

/** Opens it for a GPU first: where it was opened for the CPU, it does not find a provider that lies elsewhere. */
async function openForGpu(wanted: Device): Promise<void> {
  const { cudaFacts, gpusOf, openCuda } = await import('../native/devices.js');
  try {
    if (wanted === 'cpu') return;
    const facts = cudaFacts();
    openCuda(gpusOf(wanted, facts)[0], facts);
  } catch (error) {
    if (!(error instanceof FkinvError)) throw error; // the check of the device says it again
  }
}

async function checkOnnxRuntime(hasAddon: boolean, wanted: Device): Promise<Found<OnnxRuntime>> {
  try {
    const file = findOnnxRuntime();
    const others = otherOnnxRuntimes(file);
    if (!hasAddon) return [`${fromHere(file)}, not opened: addon comes first`, { path: file, version: null, others }];
    const { native } = await import('../native/addon.js');
    await openForGpu(wanted);
    await new native.Engine(file, 1, 'baseline', 'cpu').dispose();
    const version = native.onnxRuntimeVersion();
    const beside = others.map((other) => `; ${besideOnnxRuntime({ ...other, folder: fromHere(other.folder) })}`);
    return [`${version}, ${fromHere(file)}${beside.join('')}`, { path: file, version, others }];
  } catch (error) {
    if (environment.onnxruntime === undefined || !(error instanceof FkinvError)) throw error;
    const remedy = 'Unset FKINV_ONNXRUNTIME, or let it name a libonnxruntime as new as the one of onnxruntime-node.';
    throw new Fault(error.message, remedy, error.code, { cause: error });
  }
}

function checkSharp(): Found<DoctorReport['sharp']> {
  try {
    const { versions } = createRequire(__filename)('sharp') as typeof Sharp; // as image.ts does: import() takes another file
    const { sharp, vips } = versions;
    return [`${sharp}, libvips ${vips}`, { version: sharp, libvips: vips }];
  } catch (cause) {
    throw new Fault(
      `sharp, which reads images, does not load: ${messageOf(cause).split('\n')[0] ?? ''}`,
      'npm install --include=optional sharp, on the machine it runs on: its binaries are optional dependencies.',
    );
  }
}

function checkTokenizers(): Found<undefined> {
  const name = '@huggingface/tokenizers';
  try {
    createRequire(__filename)(name);
    return [name, undefined];
  } catch (cause) {
    throw new Fault(
      `${name}, which reads texts, does not load: ${messageOf(cause).split('\n')[0] ?? ''}`,
      'npm install, where this package is: its dependencies are not all there.',
    );
  }
}

async function checkKernels(): Promise<Found<DoctorReport['kernels']>> {
  const { native } = await import('../native/addon.js');
  const { instructionSet } = await import('../native/create-engines.js');
  const { checkKernels: check } = await import('./golden.js');
  const kernels = { instructionSet: instructionSet(), instructionSets: native.instructionSets() };
  const detail = `${kernels.instructionSet} (of ${kernels.instructionSets.join(', ')}), ${check()} values of golden cases`;
  return [detail, kernels];
}

async function modelAt(
  exam: Examination,
  kind: ModelKind,
  given: string | undefined,
  wanted: Device,
): Promise<Models[ModelKind]> {
  const check = `${kind} files`;
  const name = parseModelName(given ?? path.join(root, 'models', kind));
  try {
    const device = wanted.startsWith('cuda') ? 'cuda' : 'cpu';
    const folder =
      name.kind === 'folder'
        ? new ModelFolder(path.resolve(name.path))
        : await openCached(storeSettings(), name, device);
    return { folder, report: await examineFiles(exam, check, folder, kind) };
  } catch (error) {
    await exam.run(check, [], () => Promise.reject(error as Error));
    return { folder: new ModelFolder(given ?? ''), report: noFiles };
  }
}

function filesIn({ folder, report }: Models[ModelKind]): { folder: string; files: ModelFile[] } {
  return { folder: folder.path, files: report.files };
}

/** Graphs and parity of both, and the inversion. */
async function examineModels(exam: Examination, models: Models, given: DoctorOptions, device: Device): Promise<void> {
  const missing = exam.missing(['addon', 'kernels', 'onnxruntime', 'device', 'sharp', 'tokenizers']);
  if (missing !== undefined) {
    for (const name of ['clip graphs', 'dllm graphs', 'inversion']) exam.skip(name, missing);
    return;
  }
  const { createEngine } = await import('../native/create-engines.js');
  const { examineClip, examineDllm } = await import('./graphs.js');
  const engine = createEngine({ threads: 1, device, warn: () => undefined });
  const place = (kind: ModelKind): Place => ({
    exam,
    engine,
    folder: models[kind].folder,
    parityFile: models[kind].report.parityFile,
    label: (part) => `${kind} ${part}`,
    needs: [`${kind} files`],
  });
  let defaults: InvertOptions = {};
  const clip = await examineClip(place('clip'));
  if (clip === undefined) {
    exam.skip('dllm graphs', 'clip graphs');
  } else {
    const dllm = await examineDllm(place('dllm'), clip.model, given.clip === undefined);
    defaults = dllm?.facts.defaults ?? {};
    clip.model.text.session.dispose();
  }
  await engine.dispose();
  await exam.run('inversion', ['clip graphs', 'dllm graphs'], () => invert({ ...given, device }, defaults));
}

async function invert(models: DoctorOptions, defaults: InvertOptions): Promise<Found<undefined>> {
  const { checkInversion, picture } = await import('./self-test.js');
  const isEmbedded = models.dllm === undefined && models.clip === undefined;
  // Another model may take seconds a step: few will do. Blocks want their own number of steps.
  const options = isEmbedded || defaults.blockLength !== undefined ? {} : { steps: 4 };
  const quiet = { ...models, onWarning: () => undefined };
  const { prompt, rewardClip } = await checkInversion({ models: quiet, isEmbedded, options });
  return [
    `${path.basename(picture)}, twice: ${JSON.stringify(prompt)}, rewardClip ${rewardClip.toFixed(4)}`,
    undefined,
  ];
}
