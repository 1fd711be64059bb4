// The results as Markdown.
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
      'counts (“other”: JavaScript between the stages, the engine thread’s hand-over). With several images in flight the host’s stages run beside the ' +
      'engine’s, and `encodeImage` waits for it: they are not left out there, and their sum says nothing.',
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
    const loop = comparisons.find((other) => other.threads === threads && other.batch === 1)?.engine ?? [];
    const overLoop = engine.map(({ secondsAnImage }, r) => (loop[r]?.secondsAnImage ?? NaN) / secondsAnImage);
    const measured = reference.length > 0;
    const rewards = (key: 'rewardClip' | 'rewardEdit'): string =>
      [engine, reference]
        .map((rounds) => (rounds.length > 0 ? mean(rounds.map((outcome) => outcome[key])).toFixed(3) : '–'))
        .join(' / ');
    return [
      threads,
      batch,
      ms(engine),
      batch === 1 ? '1' : spread(overLoop, 2),
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
    'times a loop of single ones',
    'PyTorch',
    'times its speed',
    'target',
    'rewardClip',
    'rewardEdit',
  ];
  return table(head, rows);
}

/** What is not between the model runs: of several images in flight what the engine's thread does, else all that is not. */
const notBetween = (batch: number): string[] =>
  batch > 1 ? ['denoise', 'encodeText'] : ['denoise', 'encodeText', 'encodeImage', 'decodeImage'];
/** Of the whole that may lie between the model runs. */
const mostBetween = 0.1;

function stageTable(comparisons: Comparison[]): string {
  const columns = comparisons.map(({ batch, engine }) => ({ batch, ...stagesOf(engine) }));
  const names = [...new Set(columns.flatMap(({ stages }) => Object.keys(stages)))];
  const cell = (ms: number | undefined, total: number): string =>
    ms === undefined ? '–' : `${ms.toFixed(1)} (${((100 * ms) / total).toFixed(1)} %)`;
  const rows = names.map((name) => [name, ...columns.map(({ stages, total }) => cell(stages[name], total))]);
  const other = columns.map(({ batch, stages, total }) =>
    cell(batch > 1 ? undefined : total - sum(Object.values(stages)), total),
  );
  const between = columns.map(({ batch, stages, total }) => {
    const ms = total - sum(notBetween(batch).map((name) => stages[name] ?? 0));
    return `${cell(ms, total)} ${mark(ms < mostBetween * total)}`;
  });
  const totals = columns.map(({ total }) => total.toFixed(1));
  const heads = comparisons.map(
    ({ threads, batch }) => `${batch} in flight, ${threads} thread${threads > 1 ? 's' : ''}`,
  );
  const last = [
    ['other', ...other],
    ['**between the model runs**', ...between],
    ['whole', ...totals],
  ];
  return table(['stage', ...heads], [...rows, ...last]);
}

/** Milliseconds an image by stage, and of the whole: means over the rounds. */
function stagesOf(rounds: Measured[]): { stages: Record<string, number>; total: number } {
  const stages: Record<string, number> = {};
  for (const round of rounds) {
    for (const [name, ms] of Object.entries(round.stages)) stages[name] = (stages[name] ?? 0) + ms / rounds.length;
  }
  return { stages, total: 1000 * mean(rounds.map(({ secondsAnImage }) => secondsAnImage)) };
}

function inFlightTable(inFlight: InFlight[]): string {
  const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
  const rows = inFlight.map(({ inFlight: n, imagesASecond, idleShare, rowsAStep, loadedBytes, peakBytes }) => {
    const idle = `${(100 * idleShare).toFixed(1)} %`;
    return [
      n,
      n * 8,
      imagesASecond.toFixed(2),
      idle,
      rowsAStep.toFixed(1),
      megabytes(loadedBytes),
      megabytes(peakBytes),
    ];
  });
  const head = [
    'images in flight',
    'particles (`maxBatch`)',
    'images a second',
    'engine idle',
    'rows a forward',
    'memory, loaded',
    'memory, peak',
  ];
  return table(head, rows);
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
