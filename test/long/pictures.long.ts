// Very large pictures in a batch: how much memory they take.
import { spawn } from 'node:child_process';
import { link, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { root } from '../helpers/child';
import { needs } from '../helpers/needs';

interface Run {
  code: number | null;
  /** The most resident memory, in 10⁶ bytes. */
  megabytes: number;
}

/** Runs the command, and looks at its peak of resident memory as long as it is there. */
async function run(args: string[]): Promise<Run> {
  const child = spawn(process.execPath, [path.join(root, 'dist', 'cli.js'), ...args], { stdio: 'ignore' });
  let kilobytes = 0;
  const look = async (): Promise<void> => {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    kilobytes = Math.max(kilobytes, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
  };
  const timer = setInterval(() => void look(), 50);
  const code = await new Promise<number | null>((resolve) => child.on('exit', resolve));
  clearInterval(timer);
  return { code, megabytes: (kilobytes * 1024) / 1e6 };
}

for (const { what, side, format, bound } of [
  { what: 'fourteen PNGs of 11000²', side: 11_000, format: 'png', bound: 1200 },
  {
    what: 'fourteen JPEGs of 11000², which are made smaller as they are read',
    side: 11_000,
    format: 'jpeg',
    bound: 1200,
  },
] as const) {
  needs(process.platform === 'linux', 'Linux’s /proc')(
    `${what} are all done in ${bound} MB, with one particle each too`,
    async (t) => {
      const folder = await mkdtemp(path.join(tmpdir(), 'fkinv-large-'));
      t.teardown(() => rm(folder, { recursive: true }));
      const first = path.join(folder, `0.${format}`);
      const create = { width: side, height: side, channels: 3, background: '#c06030' } as const;
      await sharp({ create }).toFormat(format).toFile(first);
      for (let i = 1; i < 14; i++) await link(first, path.join(folder, `${i}.${format}`));
      for (const particles of ['8', '1']) {
        const out = path.join(folder, `${particles}.jsonl`);
        const { code, megabytes } = await run([
          'batch',
          folder,
          '--out',
          out,
          '--particles',
          particles,
          '--steps',
          '2',
        ]);
        t.log(`${megabytes.toFixed(0)} MB with ${particles} particles`);
        t.is(code, 0);
        const lines = (await readFile(out, 'utf8')).trim().split('\n');
        t.is(lines.filter((line) => line.includes('"prompt"')).length, 14);
        t.true(megabytes <= bound, `${megabytes} MB`);
      }
    },
  );
}
