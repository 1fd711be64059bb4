// node scripts/glibc.mjs [--at-most 2.28] [file…]: what addons, by default those of prebuilds/, ask of the machine that
// loads them. It fails where one asks for a newer glibc than that, needs a C++ runtime, has debug symbols, or shows more
// than Node-API's entry points.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const entryPoints = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

/** Compares versions such as 2.9 and 2.28. */
function compare(a, b) {
  return a.localeCompare(b, 'en', { numeric: true });
}

/** What the dynamic linker reads of an ELF file: readelf is part of binutils, which every GCC needs. */
function readSymbols(file) {
  const env = { ...process.env, LC_ALL: 'C' };
  const options = { encoding: 'utf8', env, maxBuffer: 2 ** 26 };
  const text = execFileSync('readelf', ['-W', '-S', '-d', '-V', '--dyn-syms', file], options);
  const all = (pattern) => [...text.matchAll(pattern)].map(([, found]) => found);
  return {
    libraries: all(/\(NEEDED\).*\[(.+)\]/g),
    versions: [...new Set(all(/Name: (GLIBC_\S+)/g))],
    imports: all(/ UND (\S+)/g),
    exports: all(/ (?:GLOBAL|WEAK|UNIQUE) +(?:DEFAULT|PROTECTED) +\d+ (\S+)/g),
    isStripped: !/ \.(?:symtab|debug_info) /.test(text),
  };
}

/** The glibc an addon asks for, and the symbols that ask for it. */
function floorOf({ versions, imports }) {
  const numbers = versions.map((version) => version.slice('GLIBC_'.length)).sort(compare); // names come after numbers
  const glibc = numbers.at(-1);
  const symbols = imports.filter((name) => name.endsWith(`@GLIBC_${glibc}`)).map((name) => name.split('@')[0]);
  return { glibc, symbols };
}

/** What keeps a prebuild from being loaded everywhere it should. */
function faultsOf({ libraries, exports, isStripped }, glibc, atMost) {
  const faults = [];
  if (glibc !== undefined && atMost !== undefined && compare(glibc, atMost) > 0)
    faults.push(`it needs glibc ${glibc}, and may need ${atMost} at most: build it on an older distribution`);
  for (const library of libraries.filter((name) => /^lib(stdc\+\+|c\+\+|gcc_s)\./.test(name)))
    faults.push(`it needs ${library}, which belongs inside: npm run prebuild links it statically`);
  const leaks = exports.filter((name) => !entryPoints.includes(name));
  if (leaks.length > 0) faults.push(`it shows ${leaks.length} symbols that are its own, ${leaks[0]} among them`);
  if (!isStripped) faults.push('it has debug symbols: npm run prebuild strips them');
  return faults;
}

/** Prints what is known of a file; returns whether it is as it should be. */
function check(file, atMost) {
  const content = readFileSync(file);
  console.log(`${path.relative(process.cwd(), file)}: ${(content.length / 1e6).toFixed(2)} MB`);
  if (content.toString('latin1', 0, 4) !== '\x7fELF') {
    console.log('  not for Linux: there is no glibc to ask for');
    return true;
  }
  const found = readSymbols(file);
  const { glibc, symbols } = floorOf(found);
  if (glibc === undefined) console.log('  no version of glibc is asked for: it is built for musl');
  else console.log(`  glibc ${glibc} or newer, for ${symbols.join(', ') || 'the way it is linked'}`);
  console.log(`  libraries: ${found.libraries.join(', ')}`);
  const faults = faultsOf(found, glibc, atMost);
  for (const fault of faults) console.error(`  FAULT: ${fault}`);
  return faults.length === 0;
}

function prebuilds() {
  const folder = path.join(root, 'prebuilds');
  const entries = existsSync(folder) ? readdirSync(folder, { recursive: true }) : [];
  return entries.filter((name) => name.endsWith('.node')).map((name) => path.join(folder, name));
}

const { values, positionals } = parseArgs({ options: { 'at-most': { type: 'string' } }, allowPositionals: true });
const files = positionals.length > 0 ? positionals : prebuilds();
if (files.length === 0) console.error('There is no prebuild to check: npm run prebuild makes one.');
const areGood = files.map((file) => check(file, values['at-most']));
process.exitCode = files.length > 0 && areGood.every(Boolean) ? 0 : 1;
