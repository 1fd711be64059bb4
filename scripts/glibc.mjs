// What the prebuilt addons need of a Linux machine, read from their symbols by readelf (of binutils):
//   node scripts/glibc.mjs [--at-most 2.28] [file…]     default: all of prebuilds/
// Fails when one needs a newer glibc than that, or the machine's own libstdc++ or libgcc_s.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

function prebuilds() {
  const folder = path.join(root, 'prebuilds');
  const entries = existsSync(folder) ? readdirSync(folder, { recursive: true }) : [];
  return entries.filter((name) => name.endsWith('.node')).map((name) => path.join(folder, name));
}

const readelf = (flag, file) => execFileSync('readelf', ['--wide', flag, file], { encoding: 'utf8' });

/** Negative where version `a` is older than `b`. */
const compare = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/** The shared libraries of `file`, the newest glibc that its symbols are of, and those symbols. */
function needsOf(file) {
  const libraries = [...readelf('--dynamic', file).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name);
  const symbols = [...readelf('--dyn-syms', file).matchAll(/UND (\w+)@GLIBC_([\d.]+)/g)];
  const glibc = symbols
    .map(([, , version]) => version)
    .sort(compare)
    .at(-1);
  return { libraries, glibc, newest: symbols.filter(([, , version]) => version === glibc).map(([, name]) => name) };
}

/** Prints what `file` needs; whether it may be shipped. */
function check(file, atMost) {
  const content = readFileSync(file);
  const name = `${path.relative(root, file)} (${Math.ceil(content.length / 1024)} KiB)`;
  if (!content.subarray(0, 4).equals(Buffer.from('\x7fELF'))) {
    console.log(`${name}: not of Linux, nothing to check`);
    return true;
  }
  const { libraries, glibc, newest } = needsOf(file);
  const foreign = libraries.filter((library) => /^lib(stdc\+\+|gcc_s)\./.test(library));
  const isTooNew = glibc !== undefined && atMost !== undefined && compare(glibc, atMost) > 0;
  const libc = glibc === undefined ? 'musl' : `glibc ${glibc} or newer (${newest.join(', ')})`;
  console.log(`${name}: needs ${libc}; opens ${libraries.join(', ')}`);
  if (isTooNew)
    console.error(`error: ${name} needs glibc ${glibc}, at most ${atMost} is allowed: build it on an older Linux`);
  if (foreign.length > 0)
    console.error(`error: ${name} needs ${foreign.join(', ')} of the machine: link them statically`);
  return !isTooNew && foreign.length === 0;
}

const { values, positionals } = parseArgs({ options: { 'at-most': { type: 'string' } }, allowPositionals: true });
const files = positionals.length > 0 ? positionals : prebuilds();
if (files.length === 0) console.error('error: there is no prebuilt addon: npm run prebuild');
const verdicts = files.map((file) => check(file, values['at-most']));
process.exitCode = verdicts.length > 0 && verdicts.every(Boolean) ? 0 : 1;
