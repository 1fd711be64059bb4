import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import path from 'node:path';

/** What the control groups of a process allow it; undefined where they set no limit. */
export interface CgroupLimits {
  /** Processors' worth of time, such as 1.5. */
  processors?: number;
  /** Bytes of memory. */
  memory?: number;
}

/** Where a hierarchy is mounted, and which of its groups stands at that place. */
interface Mount {
  point: string;
  top: string;
}

/**
 * The limits of the control groups that this process is in, of version 1 and of version 2: the least of its own group's and those
 * of the groups above it. Empty where there are none, as on other systems than Linux. Node's `availableParallelism` reads none of
 * them before Node 24, and its `constrainedMemory` only those of the process's own group.
 * @param root - The folder in which `proc` and the mounts are looked for; tests have trees of their own.
 */
export function cgroupLimits(root = '/'): CgroupLimits {
  const mounts = textOf(path.join(root, 'proc/self/mountinfo')).split('\n');
  const groups = textOf(path.join(root, 'proc/self/cgroup')).split('\n');
  const limits: Required<CgroupLimits>[] = [];
  for (const line of groups) {
    const [, controllers = '', group = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (group === '') continue;
    const isUnified = controllers === '';
    for (const controller of isUnified ? [''] : ['cpu', 'memory']) {
      if (!isUnified && !controllers.split(',').includes(controller)) continue;
      const mount = mountOf(mounts, controller);
      if (mount === undefined) continue;
      for (const folder of foldersOf(mount, group)) limits.push(limitsIn(path.join(root, folder), isUnified));
    }
  }
  const processors = Math.min(...limits.map((each) => each.processors));
  const memory = Math.min(...limits.map((each) => each.memory));
  return { ...(processors < Infinity && { processors }), ...(memory < Infinity && { memory }) };
}

/** Threads that can run at a time: the processors that the process may use, or as many as its control groups give the time of. */
export function usableProcessors({ processors = Infinity } = cgroupLimits()): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(processors)));
}

/** Bytes of memory that the process can have: the machine's, or what its control groups allow if that is less. */
export function usableMemory({ memory = Infinity } = cgroupLimits()): number {
  return Math.min(totalmem(), memory);
}

/** Where the hierarchy of `controller` is mounted; of version 2, which has one for all, with ''. */
function mountOf(lines: readonly string[], controller: string): Mount | undefined {
  for (const line of lines) {
    // "31 23 0:28 <top> <point> <options> … - <type> <source> <super options>"
    const [place = '', kind = ''] = line.split(' - ');
    const [, , , top = '', point = ''] = place.split(' ');
    const [type, , options = ''] = kind.split(' ');
    const isIt = controller === '' ? type === 'cgroup2' : type === 'cgroup' && options.split(',').includes(controller);
    if (isIt) return { point, top };
  }
  return undefined;
}

/**
 * The folders of `group` and of the groups above it. In a container the process's own may stand at the mount, and its path be that
 * of the host, of which nothing is to be seen: folders that do not exist limit nothing.
 */
function foldersOf({ point, top }: Mount, group: string): string[] {
  const relative = path.posix.relative(top, group);
  const below = relative.startsWith('..') ? group : relative;
  const names = below.split('/').filter((name) => name !== '');
  return Array.from({ length: names.length + 1 }, (_, depth) => path.posix.join(point, ...names.slice(0, depth)));
}

function limitsIn(folder: string, isUnified: boolean): Required<CgroupLimits> {
  const read = (name: string): string => textOf(path.join(folder, name)).trim();
  const [quota, period] = isUnified
    ? read('cpu.max').split(' ')
    : [read('cpu.cfs_quota_us'), read('cpu.cfs_period_us')];
  const memory = isUnified ? [read('memory.max'), read('memory.high')] : [read('memory.limit_in_bytes')];
  return {
    processors: positive(quota) / (positive(period) === Infinity ? 100_000 : positive(period)),
    memory: Math.min(...memory.map(positive)),
  };
}

/** A number above 0; Infinity for what means that there is no limit: nothing, "max", −1. */
function positive(text: string | undefined): number {
  const value = Number(text);
  return value > 0 ? value : Infinity;
}

/** The file's text; empty where it cannot be read. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
