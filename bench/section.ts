import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';

const readme = path.join(__dirname, 'README.md');

/** Replaces what stands between the markers of section `name` in bench/README.md. */
export async function writeSection(name: string, text: string): Promise<void> {
  const before = `<!-- ${name}: written by the script -->`;
  const after = `<!-- ${name}: end -->`;
  const document = readFileSync(readme, 'utf8');
  const [start, end] = [document.indexOf(before), document.indexOf(after)];
  if (start === -1 || end < start) throw new Error(`${readme} has no section between ${before} and ${after}`);
  const updated = `${document.slice(0, start)}${before}\n\n${text}\n\n${document.slice(end)}`;
  writeFileSync(readme, await format(updated, { ...(await resolveConfig(readme)), parser: 'markdown' }));
}
