import path from 'node:path';
import { fromHere } from '../examine/checks';
import type { FolderReport } from '../examine/folders';
import type { ClipFacts, DllmFacts, GraphFacts } from '../examine/graphs';
import type { NativeTensorInfo } from '../native/addon';
import type { Device } from '../options';
import { linesOf } from './checks';
import { coloursOf } from './colours';
import { jsonLine, printable } from './printable';
import { exitCodes, reportWarning } from './report';

/** What the flags of a check come to. */
export interface CheckFlags {
  json?: true;
  device?: Device;
}

/** Does `fkinv models check`, and gives its exit code. */
export async function checkModels(folders: string[], { json, device }: CheckFlags): Promise<number> {
  const { examineFolders } = await import('../examine/folders.js');
  const reports = await examineFolders(folders, { device: device ?? 'auto', warn: reportWarning });
  process.stdout.write(json === true ? reports.map(jsonLine).join('') : reports.map(textOf).join('\n'));
  return reports.every(({ ok }) => ok) ? exitCodes.done : exitCodes.failed;
}

function textOf(report: FolderReport): string {
  const { folder, kind, graphs, facts, checks, licence, weightType } = report;
  const colours = coloursOf(process.stdout);
  const stated: Line[] = [
    ['licence', licence ?? 'not stated'],
    ['weights', weightType ?? 'not stated'],
  ];
  const lines: Line[] = [
    ...graphs.flatMap((graph) => linesOfGraph(folder, graph)),
    ...(facts === null ? [] : 'vocabulary' in facts ? linesOfDllm(facts) : linesOfClip(facts)),
    ...(kind === null ? [] : stated),
  ];
  const width = lines.reduce((widest, [name]) => Math.max(widest, name.length), 0);
  const shown = lines.map(([name, value]) => `  ${colours.dim(name.padEnd(width))}  ${printable(value)}\n`);
  return `${colours.bold(printable(fromHere(folder)))}\n${shown.join('')}${linesOf(checks, '  ')}`;
}

type Line = [name: string, value: string];

function linesOfGraph(folder: string, { file, inputs, outputs }: GraphFacts): Line[] {
  return [
    ['graph', path.relative(folder, file)],
    ['  takes', inputs.map(tensor).join(', ')],
    ['  gives', outputs.map(tensor).join(', ')],
  ];
}

function tensor({ name, type, shape }: NativeTensorInfo): string {
  return `${name} ${type} [${shape.map((extent) => (extent === -1 ? '?' : extent)).join(', ')}]`;
}

function linesOfDllm(facts: DllmFacts): Line[] {
  const { vocabulary, tokens, maskId, stopIds, suppressed, maxLength, fixedLength, maxBatch, condition } = facts;
  const { prefix, suffix, logitShift, defaults } = facts;
  const around = `${prefix.length} ids before them, ${suffix.length} behind`;
  const ownDefaults = Object.entries(defaults).map(([name, value]) => `${name} ${value}`);
  return [
    ['vocabulary', `${vocabulary} columns, ${tokens} tokens, ${suppressed} never drawn`],
    ['ids', `mask ${maskId}, stop ${stopIds.join(', ')}`],
    ['positions', `${fixedLength === null ? 'up to ' : ''}${maxLength}, ${around}, logits shifted by ${logitShift}`],
    ['condition', condition],
    ['defaults', ownDefaults.length > 0 ? ownDefaults.join(', ') : "the package's"],
    ...(maxBatch === null ? [] : [['batch', `up to ${maxBatch} rows`] as Line]),
  ];
}

function linesOfClip({ embedSize, tokens, maxWidth, image }: ClipFacts): Line[] {
  return [
    ['image', image === null ? 'of any size' : `${image.width} × ${image.height} pixels`],
    ['text', `up to ${maxWidth} of ${tokens} tokens`],
    ['embedding', `${embedSize} numbers`],
  ];
}
