import { createInterface } from 'node:readline/promises';
import { nameOf, parseModelName } from '../models/model-name';
import type { Device } from '../options';
import type { PulledModel, PullPlan } from '../store/pull';
import { inUnits } from '../util/units';
import { untilInterrupted } from './interrupts';
import type { LoadFlags } from './invert-flags';
import { printable } from './printable';
import { PullBar } from './pull-progress';
import { exitCodes, reportWarning } from './report';

/** How a model is fetched. */
export interface PullOutput {
  device: Device;
  /** Whether nobody is asked. */
  yes: boolean;
  /** Whether nothing is shown. */
  quiet: boolean;
  bar: PullBar;
  signal?: AbortSignal;
}

/** Fetches a model, with what it takes said first, and a question on a terminal. */
export async function pullWithBar(name: string, { device, yes, quiet, bar, signal }: PullOutput): Promise<PulledModel> {
  const { pullModel } = await import('../store/pull.js');
  try {
    return await pullModel(name, {
      device,
      warn: (message) => {
        bar.clear();
        if (!quiet) reportWarning(message);
      },
      onProgress: (progress) => bar.update(progress),
      confirm: async (plan) => {
        if (!quiet) process.stderr.write(`${printable(planOf(plan))}\n`);
        return yes || quiet || ask('Fetch it?', signal);
      },
      ...(signal !== undefined && { signal }),
    });
  } finally {
    bar.clear();
  }
}

/** Fetches those of the models to load that are of the Hub and not in the cache, where that is wanted. */
export async function fetchMissing(
  { download, dllm, clip, device = 'auto' }: LoadFlags,
  quiet: boolean,
): Promise<void> {
  if (download !== true) return;
  const { isCached } = await import('../store/open.js');
  const bar = new PullBar(!quiet);
  const code = await untilInterrupted(bar, async (signal) => {
    for (const text of [dllm, clip]) {
      const name = text === undefined ? undefined : parseModelName(text);
      if (text === undefined || name?.kind !== 'hub' || (await isCached(name, device))) continue;
      await pullWithBar(text, { device, yes: true, quiet, bar, signal });
    }
    return exitCodes.done;
  });
  if (code !== exitCodes.done) process.exit(code); // nothing was begun that could be lost
}

function planOf(plan: PullPlan): string {
  const { repository, variant, variants, licence, bytes, missingBytes, freeBytes, memoryBytes, usableMemoryBytes } =
    plan;
  const others = variants.filter((one) => one !== variant);
  const choice =
    variant === null ? [] : [others.length === 0 ? variant : `${variant} (there is ${others.join(', ')} too)`];
  const rest = missingBytes < bytes ? `, ${inUnits(missingBytes)} to fetch` : '';
  return [
    `${nameOf({ repository })}: ${[...choice, `licence ${licence ?? 'not stated'}`].join(', ')}`,
    `${inUnits(bytes)}${rest}, ${inUnits(freeBytes)} of disk free`,
    `${inUnits(memoryBytes)} of memory at least, ${inUnits(usableMemoryBytes)} there`,
  ].join('; ');
}

/** Asks on a terminal, where Enter means yes; elsewhere the answer is yes. */
export async function ask(question: string, signal?: AbortSignal): Promise<boolean> {
  const { stdin: input, stderr: output } = process;
  if (!input.isTTY || !output.isTTY) return true;
  const asking = createInterface({ input, output });
  asking.once('SIGINT', () => process.kill(process.pid, 'SIGINT')); // a terminal that is read gives no signal itself
  try {
    const answer = await asking.question(`${question} [Y/n] `, signal === undefined ? {} : { signal });
    return !/^\s*n/i.test(answer);
  } finally {
    asking.close();
  }
}
