// npm run cuda:registers [-- --check]: compiles every kernel of cuda/ for every architecture, and writes what each takes
// of a multiprocessor into docs/cuda-registers.md. --check writes nothing, and fails where the table is not what the
// compiler says now. Both fail where a kernel spills on an architecture of `unspilled`. Needs nvcc, and no GPU.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { findNvcc, versionOf } from './cuda.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const table = path.join(root, 'docs', 'cuda-registers.md');
const run = promisify(execFile);
const nvcc = findNvcc();
const { version, fault } = versionOf(nvcc);
if (fault !== undefined) throw new Error(fault);

// What a multiprocessor holds (CUDA C++ Programming Guide, Technical Specifications per Compute Capability): warps,
// blocks, bytes of shared memory, and those of them that each block loses to the driver. 65,536 registers in all.
const architectures = {
  75: { warps: 32, blocks: 16, shared: 64 * 1024, reserved: 0 },
  80: { warps: 64, blocks: 32, shared: 164 * 1024, reserved: 1024 },
  86: { warps: 48, blocks: 16, shared: 100 * 1024, reserved: 1024 },
  89: { warps: 48, blocks: 24, shared: 100 * 1024, reserved: 1024 },
  90: { warps: 64, blocks: 32, shared: 228 * 1024, reserved: 1024 },
  100: { warps: 64, blocks: 32, shared: 228 * 1024, reserved: 1024 },
  120: { warps: 48, blocks: 24, shared: 100 * 1024, reserved: 1024 },
};
const unspilled = ['80', '86', '89', '90'];

const roundUp = (n, multiple) => Math.ceil(n / multiple) * multiple;
const roundDown = (n, multiple) => Math.floor(n / multiple) * multiple;

/** The share of a multiprocessor's warps that can be there at once. Registers go to warps by 256, and warps to its four parts. */
function occupancyOf({ threads, registers, shared }, { warps, blocks, shared: available, reserved }) {
  const warpsOfBlock = Math.ceil(threads / 32);
  const byRegisters = roundDown(65536 / roundUp(32 * registers, 256), 4) / warpsOfBlock;
  const byShared = available / roundUp(shared + reserved, 128);
  return (Math.floor(Math.min(blocks, warps / warpsOfBlock, byRegisters, byShared)) * warpsOfBlock) / warps;
}

/** What ptxas -v says of each kernel of a file: { name, threads, registers, shared, stores, loads }. */
async function kernelsOf(source, architecture, folder) {
  const own = mkdtempSync(path.join(folder, architecture));
  const warnings = ['-Werror', 'all-warnings', '-Xcompiler', '-Wall,-Wextra'];
  const output = ['-cubin', '-Xptxas', '-v', '-keep', '-keep-dir', own, '-o', path.join(own, 'cubin')];
  const { stderr } = await run(nvcc, ['-std=c++20', `-arch=sm_${architecture}`, ...warnings, ...output, source], {
    maxBuffer: 2 ** 26,
  });
  const text = readFileSync(path.join(own, `${path.basename(source, '.cu')}.ptx`), 'utf8');
  const kernels = [];
  for (const part of stderr.split('Compiling entry function ').slice(1)) {
    const [, mangled] = /^'(\w+)'/.exec(part);
    const number = (pattern) => Number(pattern.exec(part)?.[1] ?? 0);
    const threads = new RegExp(`\\.entry ${mangled}\\([^)]*\\)\\s*\\.maxntid (\\d+)`).exec(text)?.[1];
    if (threads === undefined)
      throw new Error(`${source}: ${mangled} has no __launch_bounds__, which say its block's size`);
    kernels.push({
      mangled,
      threads: Number(threads),
      registers: number(/Used (\d+) registers/),
      shared: number(/(\d+) bytes smem/),
      stores: number(/(\d+) bytes spill stores/),
      loads: number(/(\d+) bytes spill loads/),
    });
  }
  const names = await run(
    'c++filt',
    kernels.map(({ mangled }) => mangled),
  );
  const readable = names.stdout
    .trim()
    .replaceAll('(anonymous namespace)::', '')
    .split('\n')
    .map((name) => /(\w+(?:<[^(]*>)?)\(/.exec(name)[1]);
  return kernels.map((kernel, i) => ({ ...kernel, name: readable[i] }));
}

/** Every file's kernels for every architecture: of[file][architecture], as many compilations at a time as there are processors. */
async function compile(files) {
  const folder = mkdtempSync(path.join(tmpdir(), 'cuda-registers-'));
  const of = Object.fromEntries(files.map((file) => [file, {}]));
  const sizeOf = (file) => statSync(path.join(root, 'cuda', file)).size;
  const longestFirst = [...files].sort((a, b) => sizeOf(b) - sizeOf(a));
  const jobs = longestFirst
    .flatMap((file) => Object.keys(architectures).map((architecture) => ({ file, architecture })))
    .values();
  const worker = async () => {
    for (const { file, architecture } of jobs) {
      of[file][architecture] = await kernelsOf(path.join(root, 'cuda', file), architecture, folder);
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, worker));
  } finally {
    rmSync(folder, { recursive: true });
  }
  return of;
}

/** A kernel's row of the table. */
function rowOf(name, ofArchitecture) {
  const kernels = Object.keys(architectures).map((architecture) =>
    ofArchitecture[architecture].find((kernel) => kernel.name === name),
  );
  const cells = kernels.map((kernel, i) => {
    const share = Math.round(100 * occupancyOf(kernel, Object.values(architectures)[i]));
    const spilled = kernel.stores + kernel.loads > 0 ? `, ${kernel.stores}/${kernel.loads}` : '';
    return `${kernel.registers}, ${share} %${spilled}`;
  });
  return [`\`${name}\``, kernels[0].threads, Math.max(...kernels.map(({ shared }) => shared)), ...cells];
}

const line = (cells) => `| ${cells.join(' | ')} |\n`;

async function document(version, of) {
  const heads = [
    'kernel',
    'threads',
    'shared',
    ...Object.keys(architectures).map((architecture) => `sm_${architecture}`),
  ];
  let text = `# Registers of the CUDA kernels

What \`npm run cuda:registers\` has nvcc ${version} say of every kernel for every architecture that a package holds; with \`-- --check\` it
fails where this table is not what it finds. It needs no GPU, and some minutes of two processors.

Threads are those of a block, shared memory is in bytes a block. Of each architecture: registers of a thread, the share of a multiprocessor's
warps that can be there at once (computed from registers, shared memory, threads and blocks), and, where the compiler ran out of registers,
the bytes that a thread stores to local memory and reads from it. On sm_${unspilled.join(', sm_').replace(/, (?=[^,]*$)/, ' and ')} nothing may
spill.

Of \`passKernel<logits, aligned, tempered, blocks>\`: logits whose rows are not aligned to 16 bytes are read one by one, whatever their
type, as float; tempered is τ ≠ 1; a block of threads has a warp for each 16 positions, and registers for \`blocks\` of them at most (5 for
N ≤ 80, 8 for N ≤ 128), of which the table is.
`;
  for (const [file, ofArchitecture] of Object.entries(of)) {
    const names = Object.values(ofArchitecture)[0]
      .map(({ name }) => name)
      .sort();
    text += `\n## ${file}\n\n${line(heads)}${line(heads.map(() => '---'))}`;
    for (const name of names) text += line(rowOf(name, ofArchitecture));
  }
  return format(text, { ...(await resolveConfig(table)), parser: 'markdown' });
}

/** The kernels that spill where none should. */
function spillsOf(of) {
  return Object.entries(of).flatMap(([file, ofArchitecture]) =>
    unspilled.flatMap((architecture) =>
      ofArchitecture[architecture]
        .filter(({ stores, loads }) => stores + loads > 0)
        .map(
          ({ name, stores, loads }) =>
            `${file}: ${name} spills ${stores} bytes and reads ${loads} on sm_${architecture}`,
        ),
    ),
  );
}

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const begin = Date.now();
const faults = [];
const files = readdirSync(path.join(root, 'cuda')).filter((name) => name.endsWith('.cu'));
const of = await compile(files.sort());
const text = await document(version, of);
if (!values.check) writeFileSync(table, text);
else if (!existsSync(table) || readFileSync(table, 'utf8') !== text) {
  faults.push(`docs/cuda-registers.md is not what nvcc ${version} says: npm run cuda:registers`);
}
faults.push(...spillsOf(of));
for (const fault of faults) console.error(fault);
console.log(`nvcc ${version}, ${Math.round((Date.now() - begin) / 1000)} s`);
process.exitCode = faults.length === 0 ? 0 : 1;
