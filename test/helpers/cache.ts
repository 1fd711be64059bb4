import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';

/** The cache folder of this test file, which is empty at the start. */
export let cache: string;

/** Gives the tests of a file a cache of their own, so that nothing is found in that of whoever runs them, and nothing is left there. */
export function withCache(): void {
  cache = mkdtempSync(path.join(tmpdir(), 'fkinv-cache-'));
  process.env['XDG_CACHE_HOME'] = cache;
  test.after.always(() => rm(cache, { recursive: true, force: true }));
}
