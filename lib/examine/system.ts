import { cpus, freemem, release, totalmem, type } from 'node:os';
import { familySync, versionSync } from 'detect-libc';
import { usableProcessors } from '../util/cgroup';

/** The machine, as a report of a fault needs it. */
export interface SystemFacts {
  node: string;
  /** The newest Node-API this Node has. */
  nodeApi: string;
  /** Such as `linux-x64`. */
  platform: string;
  /** Such as `glibc 2.36` or `musl 1.2.5`; null where the system is not Linux. */
  libc: string | null;
  system: string;
  processor: string;
  /** Threads that the process can have run at a time. */
  processors: number;
  memory: { totalBytes: number; freeBytes: number };
}

/** Asks Node and the system. */
export function systemFacts(): SystemFacts {
  const { node, napi } = process.versions;
  return {
    node,
    nodeApi: napi ?? 'none',
    platform: `${process.platform}-${process.arch}`,
    libc: libc(),
    system: `${type()} ${release()}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    processors: usableProcessors(),
    memory: { totalBytes: totalmem(), freeBytes: freemem() },
  };
}

function libc(): string | null {
  const family = familySync();
  return family === null ? null : `${family} ${versionSync() ?? 'of unknown version'}`;
}
