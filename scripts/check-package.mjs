// node scripts/check-package.mjs <tarball> [--node <binary>]…
// The packed tarball as a stranger meets it: installed into an empty project, without install scripts and with them, it
// inverts an image from every kind of file and from the command line, on each Node given (default: the one that runs this).
// A line a check; ends with 1 and the output of what failed. Portable: the release workflow runs it on every platform.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const consumer = fileURLToPath(new URL('../test/consumer/', import.meta.url));
const {
  values: { node: binaries },
  positionals: [tarball],
} = parseArgs({
  allowPositionals: true,
  options: { node: { type: 'string', multiple: true, default: [process.execPath] } },
});
if (tarball === undefined)
  throw new Error('which tarball? node scripts/check-package.mjs <tarball> [--node <binary>]…');

/**
 * MB that the tarball and the installed package may have, and that each prebuilt addon adds: 13.5 are the models' weights,
 * 1.5 the CUDA kernels of one addon, which are compressed as they are.
 */
const bounds = { packed: { base: 14.5, addon: 1 }, unpacked: { base: 16.5, addon: 3 } };

const prompts = new Set();
let failures = 0;

/** Prints a check's line and, where there is a fault, what it is. */
function report(name, fault) {
  console.log(`${fault === undefined ? 'ok    ' : 'FAILED'}  ${name}`);
  if (fault === undefined) return;
  failures += 1;
  console.log(fault.replace(/^/gm, '        '));
}

/**
 * `command` is a line for the shell, so that npm.cmd is found on Windows: it has no argument that would need quotes.
 * `faultOf` says what is wrong with its output, if anything is. True when all is well.
 */
function check(name, project, command, { env = {}, faultOf = () => undefined } = {}) {
  const options = { cwd: project, shell: true, encoding: 'utf8', env: { ...process.env, ...env } };
  const { status, signal, stdout, stderr } = spawnSync(command, options);
  const fault = status === 0 ? told(faultOf, stdout.trim()) : `it ended with ${signal ?? status}`;
  report(name, fault && `${command}: ${fault}\n${stdout}${stderr}`);
  return fault === undefined;
}

/** What is wrong with an output, one that is not even JSON included. */
function told(faultOf, output) {
  try {
    return faultOf(output);
  } catch (error) {
    return error.message;
  }
}

function makeProject(folder, name) {
  const project = path.join(folder, name);
  mkdirSync(project);
  cpSync(consumer, project, { recursive: true });
  copyFileSync(tarball, path.join(project, 'fkinv-native.tgz'));
  writeFileSync(path.join(project, 'package.json'), '{ "private": true }\n');
  return project;
}

/** Installs the package, TypeScript and Node's types; false when that fails. */
function install(name, project, flags) {
  const [major] = process.versions.node.split('.');
  const command = `npm install ./fkinv-native.tgz typescript @types/node@${major} ${flags}`;
  if (!check(`${name}: npm install`, project, command, { env: { ONNXRUNTIME_NODE_INSTALL: 'skip' } })) return false;
  const installed = path.join(project, 'node_modules', 'fkinv-native');
  const wasBuilt = existsSync(path.join(installed, 'build'));
  report(`${name}: nothing is built`, wasBuilt ? 'no prebuilt addon fits' : undefined);
  copyFileSync(path.join(installed, 'examples', 'bells.png'), path.join(project, 'bells.png'));
  return true;
}

function checkTypes(name, project) {
  for (const resolution of ['node16', 'bundler'])
    check(`${name}: tsc --strict, ${resolution}`, project, `npx tsc -p tsconfig.${resolution}.json`);
}

/** The environment in which `node` is `binary`, and an addon that was compiled here is not looked at. */
function environmentOf(binary) {
  const name = Object.keys(process.env).find((each) => each.toUpperCase() === 'PATH');
  const folder = path.dirname(path.resolve(binary));
  return { [name]: folder + path.delimiter + process.env[name], PREBUILDS_ONLY: '1' };
}

function checkUses(name, project, binary) {
  const env = environmentOf(binary);
  const printsPrompt = (output) => {
    const [prompt] = output.split('\n');
    prompts.add(prompt.trim());
  };
  for (const [use, command] of Object.entries({
    'a CommonJS file': 'node use.cjs',
    'an ES module': 'node use.mjs',
    'a worker thread': 'node worker.cjs',
    'TypeScript, CommonJS, node16': 'node node16/typed.cjs',
    'TypeScript, ES module, node16': 'node node16/typed.mjs',
    'TypeScript, ES module, bundler': 'node bundler/typed.mjs',
    'fkinv invert': 'npx fkinv invert bells.png',
  }))
    check(`${name}: ${use}`, project, command, { env, faultOf: printsPrompt });

  const manifest = path.join(project, 'node_modules', 'fkinv-native', 'package.json');
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  const printsVersion = (output) => (output === version ? undefined : `it is not ${version}`);
  check(`${name}: fkinv --version`, project, 'npx fkinv --version', { env, faultOf: printsVersion });
  const isWell = (output) => (JSON.parse(output).ok === true ? undefined : 'not all is well');
  check(`${name}: fkinv doctor`, project, 'npx fkinv doctor --json', { env, faultOf: isWell });
}

/** onnxruntime-node has no library for musl and for Macs with Intel processors: the addon must load, and say so. */
function checkWithoutOnnxRuntime(name, project, binary) {
  const env = environmentOf(binary);
  const isKnown = (output) => (output === '6627e8d5' ? undefined : 'it is not 6627e8d5');
  check(`${name}: the kernels`, project, 'node kernels.cjs', { env, faultOf: isKnown });
  const saysSo = (output) => {
    const failed = JSON.parse(output).checks.filter(({ ok, remedy }) => !ok && remedy !== undefined);
    const isIt = failed.length === 1 && failed[0].code === 'ORT_NOT_FOUND';
    return isIt ? undefined : 'something else than ONNX Runtime is missing';
  };
  const doctor = 'npx fkinv doctor --json || node --eval 0'; // it ends with 1
  check(`${name}: fkinv doctor says that ONNX Runtime is missing`, project, doctor, { env, faultOf: saysSo });
}

function sizeOf(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries.reduce((sum, { parentPath, name }) => sum + statSync(path.join(parentPath, name)).size, 0);
}

function checkSizes(project) {
  const installed = path.join(project, 'node_modules', 'fkinv-native');
  const addons = readdirSync(installed, { recursive: true }).filter((file) => file.endsWith('.node')).length;
  for (const [name, bytes] of [
    ['packed', statSync(tarball).size],
    ['unpacked', sizeOf(installed)],
  ]) {
    const bound = bounds[name].base + bounds[name].addon * addons;
    const size = (bytes / 1e6).toFixed(1);
    report(
      `${size} MB ${name}, with prebuilt addons: ${addons}`,
      bytes > bound * 1e6 ? `more than ${bound} MB` : undefined,
    );
  }
}

const isMusl = process.platform === 'linux' && process.report.getReport().header.glibcVersionRuntime === undefined;
const isIntelMac = process.platform === 'darwin' && process.arch === 'x64';
const hasOnnxRuntime = process.env.FKINV_ONNXRUNTIME !== undefined || !(isMusl || isIntelMac);
const modes = { 'no install scripts': '--ignore-scripts', 'install scripts': '' };
const folder = mkdtempSync(path.join(tmpdir(), 'fkinv stränger ')); // a space and a letter that is not ASCII, as homes have
try {
  const projects = Object.keys(modes).map((mode) => ({ mode, project: makeProject(folder, mode) }));
  const installed = projects.filter(({ mode, project }) => install(mode, project, modes[mode]));
  for (const { project } of installed.slice(0, 1)) checkSizes(project);
  for (const { mode, project } of installed) {
    checkTypes(mode, project);
    for (const binary of binaries) {
      const version = spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout.trim();
      const checkNode = hasOnnxRuntime ? checkUses : checkWithoutOnnxRuntime;
      checkNode(`${mode}, Node ${version}`, project, binary);
    }
  }
  if (hasOnnxRuntime) {
    const isOne = prompts.size === 1 && [...prompts][0].includes('bells');
    report('the same prompt from all, of bells', isOne ? undefined : [...prompts].join('\n'));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failures === 0 ? 0 : 1;
