// node scripts/check-package.mjs <tarball> [--node <binary>]…
// The packed tarball as a stranger meets it: installed into an empty project, without install scripts and with them, it
// inverts an image from every kind of file and from the command line, on each Node given (default: the one that runs this).
// A line a check; ends with 1 and the output of what failed. Portable: the release workflow runs it on every platform.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

const prompts = new Set();
let failures = 0;

function report(name, fault) {
  console.log(`${fault === undefined ? 'ok    ' : 'FAILED'}  ${name}`);
  if (fault === undefined) return;
  failures += 1;
  console.log(fault.replace(/^/gm, '        '));
}

/** `command` is a line for the shell, so that npm.cmd is found on Windows: it has no argument that would need quotes. */
function run(name, project, command, env = {}) {
  const { status, signal, stdout, stderr } = spawnSync(command, {
    cwd: project,
    shell: true,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  report(name, status === 0 ? undefined : `${command}: ended with ${signal ?? status}\n${stdout}${stderr}`);
  return status === 0 ? stdout : undefined;
}

/** The process's environment with the folder of `binary` first on the path, under whatever name the path has. */
function environmentOf(binary) {
  const key = Object.keys(process.env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH';
  return {
    [key]: path.dirname(path.resolve(binary)) + path.delimiter + process.env[key],
    PREBUILDS_ONLY: '1', // nothing that was compiled here
  };
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
function install(project, name, flags) {
  const [major] = process.versions.node.split('.');
  const command = `npm install ./fkinv-native.tgz typescript @types/node@${major} ${flags}`;
  if (run(name, project, command, { ONNXRUNTIME_NODE_INSTALL: 'skip' }) === undefined) return false;
  const installed = path.join(project, 'node_modules', 'fkinv-native');
  report(
    `${name}: the prebuilt addon fits`,
    existsSync(path.join(installed, 'build')) ? 'it was built from source' : undefined,
  );
  copyFileSync(path.join(installed, 'examples', 'bells.png'), path.join(project, 'bells.png'));
  return true;
}

function checkTypes(project, name) {
  for (const resolution of ['node16', 'bundler'])
    run(`${name}: tsc --strict, ${resolution}`, project, `npx tsc -p tsconfig.${resolution}.json`);
}

function checkUses(project, name, binary) {
  const env = environmentOf(binary);
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout.trim();
  const { version: expected } = JSON.parse(
    readFileSync(path.join(project, 'node_modules', 'fkinv-native', 'package.json'), 'utf8'),
  );
  const uses = {
    'a CommonJS file': 'node use.cjs',
    'an ES module': 'node use.mjs',
    'a worker thread': 'node worker.cjs',
    'TypeScript, CommonJS, node16': 'node node16/typed.cjs',
    'TypeScript, ES module, node16': 'node node16/typed.mjs',
    'TypeScript, ES module, bundler': 'node bundler/typed.mjs',
    'the command': 'npx fkinv invert bells.png',
  };
  for (const [use, command] of Object.entries(uses)) {
    const printed = run(`${name}, Node ${version}: ${use}`, project, command, env);
    if (printed !== undefined) prompts.add(printed.split('\n')[0].trim());
  }
  const printed = run(`${name}, Node ${version}: fkinv --version`, project, 'npx fkinv --version', env);
  report(
    `${name}, Node ${version}: its version`,
    printed?.trim() === expected ? undefined : `${printed}, not ${expected}`,
  );
}

const folder = mkdtempSync(path.join(tmpdir(), 'fkinv stränger '));
try {
  for (const [name, flags] of [
    ['without install scripts', '--ignore-scripts'],
    ['with install scripts', ''],
  ]) {
    const project = makeProject(folder, name);
    if (!install(project, name, flags)) continue;
    checkTypes(project, name);
    for (const binary of binaries) checkUses(project, name, binary);
  }
  const [prompt] = prompts;
  const isSound = prompts.size === 1 && prompt.includes('bells');
  report('the same prompt everywhere, of bells', isSound ? undefined : [...prompts].join('\n'));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failures === 0 ? 0 : 1;
