import { knownModels } from '../models/known';
import { nameOf, parseHubName } from '../models/model-name';
import type { Device } from '../options';
import { inUnits } from '../util/units';
import type { StoredModel } from '../store/inventory';
import { coloursOf } from './colours';
import { untilInterrupted } from './interrupts';
import { jsonLine, printable } from './printable';
import { ask, pullWithBar } from './pull';
import { PullBar } from './pull-progress';
import { exitCodes } from './report';
import { aligned } from './table';

// The models of the Hugging Face cache: `fkinv models pull`, `list` and `rm`.

export interface PullFlags {
  device?: Device;
  yes?: true;
}

export interface ListFlags {
  json?: true;
}

export interface RemoveFlags {
  yes?: true;
}

/** Does `fkinv models pull`, and gives its exit code: the folder of each model is a line on stdout. */
export async function pullModels(names: string[], { device = 'auto', yes }: PullFlags): Promise<number> {
  for (const name of names) parseHubName(name); // one that is wrong is told before any is fetched
  const bar = new PullBar(true);
  return untilInterrupted(bar, async (signal) => {
    for (const name of names) {
      const { folder } = await pullWithBar(name, { device, yes: yes === true, quiet: false, bar, signal });
      process.stdout.write(`${folder}\n`);
    }
    return exitCodes.done;
  });
}

/** Does `fkinv models list`, and gives its exit code. */
export async function listModels({ json }: ListFlags): Promise<number> {
  const { storedModels } = await import('../store/inventory.js');
  const { storeSettings } = await import('../store/settings.js');
  const settings = storeSettings();
  const stored = await storedModels(settings);
  const known = Object.entries(knownModels).map(([repository, { kind, licence, bytes }]) => ({
    repository,
    kind,
    licence,
    bytes,
  }));
  if (json === true) {
    process.stdout.write(
      [...stored.map((model) => ({ here: true, ...model })), ...known.map((model) => ({ here: false, ...model }))]
        .map(jsonLine)
        .join(''),
    );
    return exitCodes.done;
  }
  const { bold, dim } = coloursOf(process.stdout);
  const here = aligned([['model', 'size', 'last use', 'licence', 'revision'], ...stored.map(rowOf)]);
  const others = known.map(({ repository, licence, bytes }) => [
    nameOf({ repository }),
    Object.entries(bytes)
      .map(([variant, size]) => `${variant} ${inUnits(size)}`)
      .join(', ') || 'not known',
    licence,
  ]);
  const lines = [
    bold(`In ${printable(settings.cache)}`),
    ...(stored.length === 0 ? [dim('nothing that fkinv loads')] : here.map(printable)),
    '',
    bold('Known, for fkinv models pull'),
    ...aligned([['model', 'size', 'licence'], ...others]),
    dim('A model takes at least its size of memory.'),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  return exitCodes.done;
}

function rowOf({ repository, variants, isWhole, bytes, lastUse, licence, revisions, commit }: StoredModel): string[] {
  const ofVariants = variants.length === 0 ? '' : ` (${variants.join(', ')})`;
  return [
    `${nameOf({ repository })}${isWhole ? ofVariants : ' (in part)'}`,
    inUnits(bytes),
    lastUse.toISOString().slice(0, 10),
    licence ?? 'not stated',
    [...revisions, commit.slice(0, 8)].join(' '),
  ];
}

/** Does `fkinv models rm`, and gives its exit code. */
export async function removeModels(names: string[], { yes }: RemoveFlags): Promise<number> {
  const { planRemoval } = await import('../store/inventory.js');
  const { storeSettings } = await import('../store/settings.js');
  const settings = storeSettings();
  const removals = [];
  for (const name of names) removals.push({ name, ...(await planRemoval(settings, parseHubName(name))) });
  for (const { name, bytes, remove } of removals) {
    if (yes !== true && !(await ask(`Remove ${name}, ${inUnits(bytes)}?`))) continue;
    await remove();
    process.stderr.write(`removed ${printable(name)}, ${inUnits(bytes)}\n`);
  }
  return exitCodes.done;
}
