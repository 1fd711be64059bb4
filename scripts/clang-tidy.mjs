// npm run lint:cpp: clang-tidy over every source of ours, as the addon's build compiles it.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const build = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'build');
const commands = JSON.parse(readFileSync(path.join(build, 'compile_commands.json'), 'utf8'));
// One that is compiled several times is checked as each of them. What nvcc compiles has flags that Clang does not know.
const isOurs = (file) => !file.includes('node_modules') && !file.endsWith('.cu');
const sources = new Set(commands.map(({ file }) => file).filter(isOurs)).values();

/** One source; resolves to whether it is clean. */
function check(file) {
  return new Promise((resolve, reject) => {
    // The build's flags are its compiler's: GCC has warnings that Clang does not know, which is an error under -Werror.
    const flags = ['-p', build, '--quiet', '--extra-arg=-Wno-unknown-warning-option'];
    const tidy = spawn('clang-tidy', [...flags, file], { stdio: ['ignore', 'pipe', 'ignore'] });
    let findings = '';
    tidy.stdout.on('data', (chunk) => (findings += chunk));
    tidy.on('error', () => reject(new Error('clang-tidy is not installed: on Debian, apt-get install clang-tidy')));
    tidy.on('close', (code) => {
      if (findings !== '') console.log(findings);
      resolve(code === 0);
    });
  });
}

async function worker() {
  let clean = true;
  for (const file of sources) clean = (await check(file)) && clean;
  return clean;
}

const results = await Promise.all(Array.from({ length: availableParallelism() }, worker));
process.exitCode = results.every(Boolean) ? 0 : 1;
