// A cache of its own for a test, and pulls into it.
import { mkdtempSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { pullModel, type PullCall, type PulledModel } from '../../lib/store/pull';
import { TestHub, type Repository } from './hub';

// Whatever proxies this machine has, the servers of tests are on it.
process.env['no_proxy'] = '*';

export const fixtures = path.join(__dirname, '..', 'fixtures', 'models');

/** An empty folder until the test ends. */
export function emptyFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-store-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export interface Store {
  hub: TestHub;
  cache: string;
  warnings: string[];
  /** Pulls into the cache; requests are made again at once. */
  pull: (name: string, call?: Partial<PullCall>, token?: string) => Promise<PulledModel>;
  /** A folder of the cache. */
  at: (...parts: string[]) => string;
}

/** A Hub that has `repositories`, and an empty cache. */
export async function openStore(t: ExecutionContext, repositories: Record<string, Repository>): Promise<Store> {
  const hub = await TestHub.open(repositories);
  t.teardown(() => hub.close());
  const cache = path.join(emptyFolder(t), 'hub');
  const warnings: string[] = [];
  const pull = (name: string, call: Partial<PullCall> = {}, token?: string): Promise<PulledModel> =>
    pullModel(name, {
      warn: (message) => warnings.push(message),
      device: 'cpu',
      pause: 1,
      settings: { endpoint: hub.endpoint, cache, token, isOffline: false },
      ...call,
    });
  return { hub, cache, warnings, pull, at: (...parts) => path.join(cache, ...parts) };
}

/** The files of a folder, with what is in them. */
export async function contentsOf(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const contents: Record<string, string> = {};
  for (const entry of entries.filter((each) => !each.isDirectory())) {
    const file = path.join(entry.parentPath, entry.name);
    contents[path.relative(folder, file)] = await readFile(file, 'latin1');
  }
  return contents;
}
