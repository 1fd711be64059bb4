// The results as Markdown.
import type { Timings } from 'fkinv-native';
import type { Measured } from './engine';
import type { InFlight } from './in-flight';
import type { Outcome } from './reference';

/** Both sides with equal threads and equal images in flight: entry r of each list is of round r. */
export interface Comparison {
  threads: number;
  batch: number;
  /** Images a round. */
  count: number;
  /** Times the reference's speed that is to be reached. */
  target: number;
  engine: Measured[];
  /** Empty where it was not measured. */
  reference: Outcome[];
}

export interface Results {
  machine: Record<string, string>;
  comparisons: Comparison[];
  inFlight: InFlight[];
}

export function report({ machine, comparisons, inFlight }: Results): string {
  const about = Object.entries(machine).map(([name, value]) => `${name}: ${value}`);
  return [
    about.join(' · '),
    comparisonTable(comparisons),
    'Milliseconds an image by stage, and their share of the whole. “Between the model runs”, to be under 10 %, is what is left of the whole inversion without ' +
      '`denoise` (the dLLM), `encodeText` and `encodeImage` (CLIP) and `decodeImage`: all kernels, token decoding, text tokenizing, and what no stage ' +
      'counts (“other”: JavaScript between the stages, the engine thread’s hand-over).',
    stageTable(comparisons),
    inFlightTable(inFlight),
  ].join('\n\n');
}

function comparisonTable(comparisons: Comparison[]): string {
  const rows = comparisons.map(({ threads, batch, target, engine, reference }) => {
    const ms = (rounds: Outcome[]): string =>
      spread(
        rounds.map(({ secondsAnImage }) => secondsAnImage * 1000),
        0,
      );
    const ratios = reference.map(({ secondsAnImage }, r) => secondsAnImage / (engine[r]?.secondsAnImage ?? NaN));
    const measured = reference.length > 0;
    const rewards = (key: 'rewardClip' | 'rewardEdit'): string =>
      [engine, reference]
        .map((rounds) => (rounds.length > 0 ? mean(rounds.map((outcome) => outcome[key])).toFixed(3) : '–'))
        .join(' / ');
    return [
      threads,
      batch,
      ms(engine),
      measured ? ms(reference) : 'not measured',
      spread(ratios, 2),
      measured ? `${target} ${mark(median(ratios) >= target)}` : `${target}, not measured`,
      rewards('rewardClip'),
      rewards('rewardEdit'),
    ];
  });
  const head = [
    'threads',
    'images in flight',
    'ms an image',
    'PyTorch',
    'times its speed',
    'target',
    'rewardClip',
    'rewardEdit',
  ];
  return table(head, rows);
}

const modelRuns = ['denoise', 'encodeText', 'encodeImage'];
const notBetween = [...modelRuns, 'decodeImage'];
/** Of the whole that may lie between the model runs. */
const mostBetween = 0.1;

function stageTable(comparisons: Comparison[]): string {
  const columns = comparisons.map(({ engine }) => stagesOf(engine.flatMap(({ timings }) => timings)));
  const names = [...new Set(columns.flatMap(({ stages }) => Object.keys(stages)))];
  const cell = (ms: number, total: number): string => `${ms.toFixed(1)} (${((100 * ms) / total).toFixed(1)} %)`;
  const rows = names.map((name) => [name, ...columns.map(({ stages, total }) => cell(stages[name] ?? 0, total))]);
  const between = columns.map(({ stages, total }) => {
    const ms = total - notBetween.reduce((sum, name) => sum + (stages[name] ?? 0), 0);
    return `${cell(ms, total)} ${mark(ms < mostBetween * total)}`;
  });
  const totals = columns.map(({ total }) => total.toFixed(1));
  const heads = comparisons.map(
    ({ threads, batch }) => `${batch} in flight, ${threads} thread${threads > 1 ? 's' : ''}`,
  );
  return table(['stage', ...heads], [...rows, ['**between the model runs**', ...between], ['whole', ...totals]]);
}

/** Milliseconds an image by stage, what no stage counts among them, and of the whole. */
function stagesOf(timings: Timings[]): { stages: Record<string, number>; total: number } {
  const images = sum(timings.map((one) => one.images));
  const total = sum(timings.map((one) => one.total)) / images;
  const stages: Record<string, number> = {};
  for (const one of timings) {
    for (const [name, { ms }] of Object.entries(one.stages)) stages[name] = (stages[name] ?? 0) + ms / images;
  }
  return { stages: { ...stages, other: total - sum(Object.values(stages)) }, total };
}

function inFlightTable(inFlight: InFlight[]): string {
  const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
  const rows = inFlight.map(({ inFlight: n, imagesASecond, rowsAStep, loadedBytes, peakBytes }) => {
    return [n, imagesASecond.toFixed(2), rowsAStep.toFixed(1), megabytes(loadedBytes), megabytes(peakBytes)];
  });
  return table(['images in flight', 'images a second', 'rows a forward', 'memory, loaded', 'memory, peak'], rows);
}

function mark(isReached: boolean): string {
  return isReached ? '✓' : '✗';
}

function table(head: string[], rows: (string | number)[][]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** "median (least – most)". */
function spread(values: number[], digits: number): string {
  if (values.length === 0) return '–';
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return `${median(values).toFixed(digits)} (${least.toFixed(digits)}–${most.toFixed(digits)})`;
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

function mean(values: number[]): number {
  return sum(values) / values.length;
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
