import { readdirSync, readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';
import path from 'node:path';

/** The machine that figures were measured on, in words; a load says that it did something else too. */
export function machine(): Record<string, string> {
  const gigabytes = (totalmem() / 2 ** 30).toFixed(0);
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} cores`,
    caches: caches(),
    memory: `${gigabytes} GiB`,
    system: `${type()} ${release()}, ${arch()}`,
    'Node.js': process.version,
    'load before': (loadavg()[0] ?? 0).toFixed(1),
  };
}

/** Of the first core, where Linux tells: "L1d 32K, L2 512K, L3 32768K". */
function caches(): string {
  const folder = '/sys/devices/system/cpu/cpu0/cache';
  const read = (index: string, file: string): string => readFileSync(path.join(folder, index, file), 'utf8').trim();
  try {
    const indices = readdirSync(folder).filter((name) => name.startsWith('index'));
    return indices
      .filter((index) => read(index, 'type') !== 'Instruction')
      .map((index) => `L${read(index, 'level')}${read(index, 'type') === 'Data' ? 'd' : ''} ${read(index, 'size')}`)
      .join(', ');
  } catch {
    return 'unknown';
  }
}
