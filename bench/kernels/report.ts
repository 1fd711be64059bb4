// The results as a table in Markdown, with the targets.
import { format } from 'prettier';
import type { Case, Stages } from './contender';
import type { Floor, Limits } from './floor';

export type ContenderName = 'engine' | 'pytorch' | 'onnx' | 'javascript';

export interface Measured {
  samples: Stages[];
  /** The peak of resident memory beside the logits; null where the system does not tell. */
  extraBytes: number | null;
  /** Of the engine: what it allocates. */
  workspaceBytes?: number | undefined;
}

export interface CaseResult extends Case {
  floor: Floor;
  contenders: { engine: Measured } & Partial<Record<ContenderName, Measured>>;
}

export interface Results {
  machine: Record<string, string>;
  limits: Limits[];
  cases: CaseResult[];
}

/** What is to be reached by a whole step, where both figures are there. */
interface Target {
  name: string;
  of: (result: CaseResult) => number | undefined;
  reached: (value: number) => boolean;
  /** How far a value is from failing: the least is the worst case. */
  slack: (value: number) => number;
  digits: number;
}

const large = 50_000; // columns
const ratioTo = (name: ContenderName, result: CaseResult): number | undefined => {
  const other = result.contenders[name];
  return other && median(other, 'whole') / median(result.contenders.engine, 'whole');
};
const memoryPercent = ({ contenders: { engine, pytorch } }: CaseResult): number | undefined =>
  engine.extraBytes === null || pytorch?.extraBytes == null
    ? undefined
    : (100 * Math.max(engine.extraBytes, engine.workspaceBytes ?? 0)) / pytorch.extraBytes;
const atLarge =
  (of: Target['of']): Target['of'] =>
  (result) =>
    result.shape[2] >= large ? of(result) : undefined;

const targets = {
  pytorch: {
    name: 'at least 5 times PyTorch eager with equal threads, V ≥ 50k',
    of: atLarge((result) => ratioTo('pytorch', result)),
    reached: (ratio) => ratio >= 5,
    slack: (ratio) => ratio,
    digits: 1,
  },
  onnx: {
    name: 'at least 3 times the ONNX graph',
    of: (result) => ratioTo('onnx', result),
    reached: (ratio) => ratio >= 3,
    slack: (ratio) => ratio,
    digits: 1,
  },
  floor: {
    name: 'fastest step within 2 times of the computed floor',
    // The floor is of the machine at its best, the most of several tries: so is the step that is held to it.
    of: ({ contenders, floor }) => Math.min(...contenders.engine.samples.map(({ whole }) => whole)) / floor.whole,
    reached: (ratio) => ratio <= 2,
    slack: (ratio) => -ratio,
    digits: 2,
  },
  memory: {
    name: 'peak extra memory under 1 % of PyTorch’s, V ≥ 50k',
    of: atLarge(memoryPercent),
    reached: (percent) => percent < 1,
    slack: (percent) => -percent,
    digits: 2,
  },
} satisfies Record<string, Target>;

const stages = ['similarity', 'reward', 'draw', 'whole'] as const;

/** Markdown, laid out. */
export function report(results: Results): Promise<string> {
  const head = [
    ['logits', 'threads', 'stage', 'engine, ms', 'PyTorch, ms', 'ONNX graph, ms', 'JavaScript, ms'],
    ['× PyTorch', '× ONNX', '× JavaScript', 'floor, ms', '× floor, fastest', 'extra memory', '% of PyTorch’s'],
  ].flat();
  const rows = results.cases.flatMap((result) => stages.map((stage) => rowOf(result, stage)));
  const table = [head, head.map((_, column) => (column < 3 ? '---' : '--:')), ...rows];
  const lines = [
    ...machineLines(results),
    '',
    ...table.map((cells) => `| ${cells.join(' | ')} |`),
    '',
    ...Object.values(targets).map((target) => `- ${summary(target, results.cases)}`),
  ];
  return format(lines.join('\n'), { parser: 'markdown', printWidth: 120 });
}

function rowOf(result: CaseResult, stage: (typeof stages)[number]): string[] {
  const { shape, type, threads, floor, contenders } = result;
  const { engine, pytorch, onnx, javascript } = contenders;
  const isWhole = stage === 'whole';
  const ratio = (other: Measured | undefined): string =>
    other === undefined ? '' : (median(other, stage) / median(engine, stage)).toFixed(1);
  const marked = (target: Target, text: string): string => {
    const value = isWhole ? target.of(result) : undefined;
    return value === undefined ? text : `${text} ${target.reached(value) ? '✓' : '✗'}`;
  };
  const percent = isWhole ? memoryPercent(result)?.toFixed(2) : undefined;
  return [
    `${shape.join(' × ')} ${type}`,
    String(threads),
    isWhole ? '**whole**' : stage,
    ...[engine, pytorch, onnx, javascript].map((measured) => (measured ? milliseconds(measured, stage) : '')),
    marked(targets.pytorch, ratio(pytorch)),
    marked(targets.onnx, ratio(onnx)),
    ratio(javascript),
    isWhole ? `${(1e3 * floor.whole).toFixed(2)}, ${floor.compute > floor.memory ? 'compute' : 'memory'}` : '',
    isWhole ? marked(targets.floor, targets.floor.of(result).toFixed(2)) : '',
    isWhole ? memory(engine) : '',
    marked(targets.memory, percent ?? ''),
  ];
}

/** The median and the quartiles. */
function milliseconds({ samples }: Measured, stage: keyof Stages): string {
  const sorted = samples.map((sample) => 1e3 * sample[stage]).sort((a, b) => a - b);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => threeDigits(quantile(sorted, q)));
  return samples.length === 1 ? `${middle} (once)` : `${middle} (${low}–${high})`;
}

function memory({ extraBytes, workspaceBytes }: Measured): string {
  const kilobytes = (bytes: number): string => (bytes / 1024).toFixed(0);
  const measured = extraBytes === null ? 'not measured' : `${kilobytes(extraBytes)} KiB`;
  return workspaceBytes === undefined ? measured : `${measured}, ${kilobytes(workspaceBytes)} allocated`;
}

function threeDigits(x: number): string {
  return Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) < 0.01 ? x.toFixed(4) : x.toPrecision(3);
}

function median({ samples }: Measured, stage: keyof Stages): number {
  const sorted = samples.map((sample) => sample[stage]).sort((a, b) => a - b);
  return quantile(sorted, 0.5);
}

/** Between the two nearest of sorted values. */
function quantile(sorted: number[], q: number): number {
  const at = q * (sorted.length - 1);
  const [low = NaN, high = NaN] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at - Math.floor(at));
}

function summary(target: Target, cases: CaseResult[]): string {
  const values = cases.flatMap((result) => {
    const value = target.of(result);
    return value === undefined ? [] : [{ result, value }];
  });
  if (values.length === 0) return `${target.name}: not measured`;
  const reached = values.filter(({ value }) => target.reached(value)).length;
  const worst = values.reduce((a, b) => (target.slack(a.value) <= target.slack(b.value) ? a : b));
  const { shape, type, threads } = worst.result;
  const where = `${shape.join(' × ')} ${type}, ${threadsInWords(threads)}`;
  const mark = reached === values.length ? '✓' : '✗';
  return `${mark} ${target.name}: ${reached} of ${values.length} (worst ${worst.value.toFixed(target.digits)}: ${where})`;
}

function machineLines({ machine, limits }: Results): string[] {
  const facts = Object.entries(machine).map(([name, value]) => `${name}: ${value}`);
  const rates = limits.map(({ threads, flopsPerSecond, bytesPerSecond }) => {
    const rate = `${(flopsPerSecond / 2e9).toFixed(1)} G FMA/s, ${(bytesPerSecond / 1e9).toFixed(1)} GB/s read`;
    return `with ${threadsInWords(threads)}: ${rate}`;
  });
  return [...facts, ...rates].map((line) => `- ${line}`);
}

function threadsInWords(threads: number): string {
  return `${threads} ${threads === 1 ? 'thread' : 'threads'}`;
}
