// docs/api is what TypeDoc makes of the docstrings (npm run docs). It fails on anything exported without a docstring and on
// links that lead nowhere (typedoc.json).
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';

const root = path.join(__dirname, '..', '..');
const run = promisify(execFile);

/** The text of every file under `folder`, by its name there. */
function filesOf(folder: string): Record<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const files = entries.map((entry) => path.join(entry.parentPath, entry.name));
  return Object.fromEntries(files.map((file) => [path.relative(folder, file), readFileSync(file, 'utf8')]));
}

test('docs/api is what the docstrings give: npm run docs makes it anew', async (t) => {
  const fresh = mkdtempSync(path.join(tmpdir(), 'fkinv-api-'));
  t.teardown(() => rmSync(fresh, { recursive: true }));
  const typedoc = path.join(root, 'node_modules', 'typedoc', 'bin', 'typedoc');
  await t.notThrowsAsync(run(process.execPath, [typedoc, '--out', fresh, '--logLevel', 'Warn'], { cwd: root }));
  t.deepEqual(filesOf(path.join(root, 'docs', 'api')), filesOf(fresh));
});
