// Whole processes that load the addon: how they end, and who else is in them. Each scenario is a script of its own, so
// that a crash is an exit code here.
import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** What it printed, each line parsed. */
  printed: unknown[];
  stderr: string;
}

const folder = path.join(__dirname, 'fixtures', 'process');

/** Runs `node script args…`; `kill` sends SIGTERM once it has printed something. */
function run(script: string, args: string[] = [], { gc = false, kill = false } = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const flags = gc ? ['--expose-gc'] : [];
    const child = execFile(
      process.execPath,
      [...flags, path.join(folder, script), ...args],
      { timeout: 60_000, killSignal: 'SIGKILL' },
      (_, stdout, stderr) => {
        const lines = stdout.split('\n').filter((line) => line !== '');
        const printed = lines.map((line) => JSON.parse(line) as unknown);
        resolve({ code: child.exitCode, signal: child.signalCode, printed, stderr });
      },
    );
    if (kill) child.stdout?.once('data', () => child.kill('SIGTERM'));
  });
}

function endedWell(t: ExecutionContext, { code, signal, printed, stderr }: Ended, expected: unknown[]): void {
  t.deepEqual({ code, signal, printed, stderr }, { code: 0, signal: null, printed: expected, stderr: '' });
}

for (const first of ['onnxruntime-node', 'fkinv']) {
  test.serial(`onnxruntime-node before, during and after an inversion, ${first} first`, async (t) => {
    const expected = { results: 1, prompts: 1, during: true, libraries: 1 };
    endedWell(t, await run('onnxruntime.cjs', [first]), [expected]);
  });
}

test.serial('onnxruntime-node in a worker while the main thread inverts', async (t) => {
  const expected = { results: 1, prompts: 1, beside: true, libraries: 1 };
  endedWell(t, await run('onnxruntime-beside.cjs'), [expected]);
});

for (const [mode, code] of [
  ['exit', 7],
  ['endless', 1], // what worker.terminate() resolves to
] as const) {
  test.serial(`workers end mid-run (${mode}): the main thread goes on, no thread stays`, async (t) => {
    const expected = { codes: [code, code, code], same: true, threads: 0 };
    endedWell(t, await run('worker-exit.cjs', [mode]), [expected]);
  });
  test.serial(`workers alone load the addon, one ends mid-run (${mode})`, async (t) => {
    endedWell(t, await run('worker-alone.cjs', [mode]), [{ prompts: 3, distinct: 1 }]);
  });
}

for (const args of [
  ['step'],
  ['timer', '0'],
  ['timer', '7'],
  ['load', '5'],
  ['load', '90'],
  ['loads', '260'],
  ['loads', '410'],
]) {
  test.serial(`process.exit(0) in the midst: ${args.join(' ')}`, async (t) => {
    endedWell(t, await run('exit.cjs', args), []);
  });
}

for (const [how, message] of [
  ['uncaught', 'on purpose, in a callback'],
  ['throw-in-step', 'on purpose, in onStep'],
] as const) {
  test.serial(`an uncaught exception mid-run: ${how}`, async (t) => {
    const { code, signal, printed, stderr } = await run('exit.cjs', [how]);
    t.deepEqual({ code, signal, printed }, { code: 1, signal: null, printed: [] });
    t.true(stderr.includes(`Error: ${message}`), stderr);
    t.notRegex(stderr, /terminate called|FATAL|Assertion|Segmentation/);
  });
}

test.serial('SIGTERM mid-run', async (t) => {
  t.deepEqual(await run('exit.cjs', ['kill'], { kill: true }), {
    code: null,
    signal: 'SIGTERM',
    printed: ['under way'],
    stderr: '',
  });
});

const disposals = {
  'mid-run': { codes: ['DISPOSED', 'DISPOSED'], after: 'DISPOSED', disposals: 3 },
  'in-step': { code: 'DISPOSED' },
  'at-once': { code: 'DISPOSED' },
  'other-loads': { code: 'DISPOSED', prompt: true },
  two: { code: 'DISPOSED', same: true, again: true },
};
for (const [when, expected] of Object.entries(disposals)) {
  test.serial(`dispose: ${when}`, async (t) => {
    endedWell(t, await run('dispose.cjs', [when]), [expected]);
  });
}

test.serial('an Inverter that has nothing to do does not keep the process alive', async (t) => {
  endedWell(t, await run('alive.cjs', ['idle']), ['done', 'exit 0']);
});
test.serial('a pending inversion keeps the process alive', async (t) => {
  endedWell(t, await run('alive.cjs', ['pending']), ['done', 'done', 'exit 0']);
});
test.serial('a pending load keeps the process alive', async (t) => {
  endedWell(t, await run('alive.cjs', ['loading']), ['loaded', 'exit 0']);
});

const prlimit = spawnSync('prlimit').error === undefined ? test.serial : test.serial.skip;
prlimit('a thread that the system refuses is an error, and the next Inverter works', async (t) => {
  const expected = { ours: true, code: 'OUT_OF_MEMORY', isOfThread: true, works: true };
  endedWell(t, await run('no-thread.cjs'), [expected]);
});

test.serial('ONNX Runtime’s telemetry is off: no files of its own', async (t) => {
  endedWell(t, await run('telemetry.cjs'), [[]]);
});

test.serial('Inverters dropped without dispose are collected with their threads', async (t) => {
  endedWell(t, await run('collect.cjs', [], { gc: true }), [{ threads: 0, prompt: true }]);
});

test.serial('ten inversions at once give what each gives alone', async (t) => {
  endedWell(t, await run('concurrent.cjs', ['all']), [{ failures: [], same: 10, again: true, distinct: 10 }]);
});
test.serial('aborting some of ten inversions leaves the others as they are alone', async (t) => {
  const failures = [2, 5, 9].map((i) => [i, 'ABORTED', true]);
  endedWell(t, await run('concurrent.cjs', ['abort']), [{ failures, same: 7, again: true, distinct: 10 }]);
});

test.serial('a seed gives the same on 1, 2, 3 and 4 threads, and on two Inverters at once', async (t) => {
  endedWell(t, await run('equal.cjs'), [{ runs: 6, distinct: [1, 1, 1, 1, 1, 1], different: 6 }]);
});

for (const kind of ['raw', 'file']) {
  test.serial(`an image overwritten after invert() was called is read as it was: ${kind}`, async (t) => {
    endedWell(t, await run('pixels.cjs', ['overwrite', kind]), [{ same: 4, of: 4 }]);
  });
  test.serial(`an image transferred after invert() was called is read as it was: ${kind}`, async (t) => {
    endedWell(t, await run('pixels.cjs', ['transfer', kind], { gc: true }), [{ same: 4, of: 4 }]);
  });
}
