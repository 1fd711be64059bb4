// fkinv-export as `pip install ./exporters` makes it, for the long tests.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { passes, root } from './child';
import { pythonEnvironment } from './python-env';

export const exporters = path.join(root, 'exporters');

/** What a test file has of it. */
export interface Exporters {
  /** An empty folder, until the tests of the file have ended. */
  folder: string;
  /** The Python that it is installed for, once the tests begin. */
  python: () => string;
  /** Where Python finds the package, beside those that it needs; nothing of this machine's own Hub is used. */
  env: { PYTHONPATH: string; HF_HUB_OFFLINE: string };
}

/** Installs it before the tests of a file, in a folder of their own. */
export function withExporters(): Exporters {
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-exporters-'));
  test.after.always(() => rmSync(folder, { recursive: true, force: true }));
  const installed = path.join(folder, 'installed');
  let python = '';
  test.before(async (t) => {
    t.timeout(1_500_000);
    python = await pythonEnvironment(path.join(root, 'test', 'long', 'python', 'requirements.txt'));
    await passes(t, python, ['-m', 'pip', 'install', '-q', '--no-deps', '--target', installed, exporters]);
  });
  return { folder, python: () => python, env: { PYTHONPATH: installed, HF_HUB_OFFLINE: '1' } };
}
