// npm run format: clang-format over every source of ours; with --check, of npm run lint, it changes none and fails where it would.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const listed = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate'];
const isOurs = (file) => /\.(cpp|cu|cuh|h)$/.test(file) && !file.startsWith('third_party/');
const sources = execFileSync('git', listed, { cwd: root, encoding: 'utf8' }).split('\0').filter(isOurs);
const how = process.argv.includes('--check') ? ['--dry-run', '--Werror'] : ['-i'];
try {
  execFileSync('clang-format', [...how, ...sources], { cwd: root, stdio: 'inherit' });
} catch {
  process.exitCode = 1;
}
