// A Python with packages of the registry, for tests that compare with libraries of its world.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { native } from '../../lib/native/addon';
import { root, run } from './child';

/** Names a Python that has what the tests ask for: nothing is installed then. */
const variable = 'FKINV_TEST_PYTHON';

/**
 * Path of a Python that has the packages of a file of pinned requirements. It is made once, in node_modules/.cache: some
 * gigabytes where PyTorch is among them. `FKINV_TEST_PYTHON` names one that is there already.
 */
export async function pythonEnvironment(requirements: string): Promise<string> {
  const given = process.env[variable];
  if (given !== undefined && given !== '') return given;
  const hash = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex')
    .slice(0, 16);
  const folder = path.join(root, 'node_modules', '.cache', `fkinv-python-${hash}`);
  const python =
    process.platform === 'win32' ? path.join(folder, 'Scripts', 'python.exe') : path.join(folder, 'bin', 'python');
  const made = path.join(folder, 'made');
  await mkdir(path.dirname(folder), { recursive: true });
  const release = await lock(`${folder}.lock`);
  try {
    if (existsSync(made)) return python;
    await rm(folder, { recursive: true, force: true });
    await succeed(process.platform === 'win32' ? 'python' : 'python3', ['-m', 'venv', folder]);
    await succeed(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]);
    await writeFile(made, '');
    return python;
  } finally {
    release();
  }
}

/** Waits until no other process makes the same; the system frees the lock of one that ends. */
async function lock(file: string): Promise<() => void> {
  await (await open(file, 'a')).close();
  for (;;) {
    const held = new native.FileLock(file);
    if (held.isHeld) return () => held.release();
    await setTimeout(500);
  }
}

async function succeed(file: string, args: string[]): Promise<void> {
  const { code, stderr } = await run(file, args);
  if (code === 0) return;
  throw new Error(`${file} ${args.join(' ')}: ${stderr}; or let ${variable} name a Python that has the packages`);
}
