import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../native/addon';
import type { CachedRepository } from './cache';

/** Milliseconds between two looks whether another process is done. */
const interval = 200;

/**
 * Does `work` while no other process of this package writes the repository; `onWait` is called where one does. Throws
 * `CACHE_FAILED`, and the signal's reason.
 */
export async function exclusively<T>(
  cached: CachedRepository,
  work: () => Promise<T>,
  onWait: () => void,
  signal?: AbortSignal,
): Promise<T> {
  const file = cached.lock;
  await cached.writing(file, async () => {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, '', { flag: 'a' });
  });
  let lock = new native.FileLock(file);
  try {
    if (!lock.isHeld) onWait();
    while (!lock.isHeld) {
      lock.release();
      await sleep(interval, undefined, { signal });
      lock = new native.FileLock(file);
    }
    return await work();
  } finally {
    lock.release();
  }
}
