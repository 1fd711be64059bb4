import type { Command } from 'commander';
import type { DoctorReport } from '../examine/installation';
import type { MemoryReport } from '../examine/memory';
import type { Device } from '../options';
import { linesOf } from './checks';
import { coloursOf } from './colours';
import { folderOf } from './folder';
import { deviceFlag } from './invert-flags';
import { jsonLine } from './printable';
import { exitCodes, reportWarning } from './report';
import { aligned } from './table';

interface Flags {
  dllm?: string;
  clip?: string;
  device?: Device;
  plan?: true;
  json?: true;
}

/** Adds `fkinv doctor` to `program`; `finish` is given its exit code. */
export function addDoctorCommand(program: Command, finish: (code: number) => void): void {
  program
    .command('doctor')
    .description('Look at this installation: what is wrong, and what to do.')
    .option(
      '--dllm <folder>',
      'diffusion language model, a folder or hf:org/name (default: the embedded demo model)',
      folderOf,
    )
    .option('--clip <folder>', 'CLIP, a folder or hf:org/name (default: the embedded demo model)', folderOf)
    .addOption(deviceFlag())
    .option('--plan', 'print what inversions take of memory instead, by images in flight together')
    .option('--json', 'print the whole report: versions, the library in use, hashes of the models, checks')
    .action(async ({ json, plan, ...options }: Flags) => {
      if (plan === true) return printPlan(options, json === true);
      const { examineInstallation } = await import('../examine/installation.js');
      const report = await examineInstallation(options);
      process.stdout.write(json === true ? jsonLine(report) : textOf(report));
      finish(report.ok ? exitCodes.done : exitCodes.failed);
    });
}

function textOf({ ok, version, checks, ...facts }: DoctorReport): string {
  const { platform, libc, system, processors, processor, memory } = facts;
  const colours = coloursOf(process.stdout);
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1);
  const machine = [
    [platform, libc, system].filter((fact) => fact !== null).join(', '),
    `${processors} × ${processor}, ${gigabytes(memory.freeBytes)} of ${gigabytes(memory.totalBytes)} GB of memory free`,
  ];
  const failed = checks.filter((check) => !check.ok && check.remedy !== undefined).length;
  const verdict = ok ? colours.green('All is well.') : colours.red(`${failed} of ${checks.length} checks failed.`);
  return `${colours.bold(`fkinv-native ${version}`)}\n${colours.dim(machine.join('\n'))}\n${linesOf(checks)}${verdict}\n`;
}

async function printPlan({ device, ...folders }: Omit<Flags, 'json' | 'plan'>, isJson: boolean): Promise<void> {
  const { examineMemory } = await import('../examine/memory.js');
  const report = await examineMemory(folders, { device: device ?? 'auto', warn: reportWarning });
  process.stdout.write(isJson ? jsonLine(report) : planOf(report));
}

const parts = ['logits', 'tiles', 'rows', 'texts', 'particles', 'total'] as const;

function planOf({ device, particles, length, guesses, vocabulary, weights, plans }: MemoryReport): string {
  const { bold, dim } = coloursOf(process.stdout);
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(2);
  const rows = plans.map((plan) => [
    String(plan.images),
    String(plan.images * particles),
    ...parts.map((part) => megabytes(plan[part])),
  ]);
  const [head = '', ...lines] = aligned([['images', 'maxBatch', ...parts], ...rows]);
  const guessed = guesses === 1 ? '1 guess' : `${guesses} guesses`;
  return [
    bold(`MB on ${device}: ${particles} particles, ${length} positions, ${guessed}, ${vocabulary} columns`),
    `weights  dllm ${megabytes(weights.dllm)}, clip ${megabytes(weights.clip)} (the graphs' files)`,
    dim(head),
    ...lines,
    dim('ONNX Runtime takes more for its runs, by the model.'),
    '',
  ].join('\n');
}
