// Whole processes that load the addon: how they end, and who else is in them.
import { spawnSync } from 'node:child_process';
import test from 'ava';
import { needs } from './helpers/needs';
import { endedWell, run } from './helpers/processes';

for (const first of ['onnxruntime-node', 'fkinv']) {
  test.serial(`onnxruntime-node before, during and after an inversion, ${first} first`, async (t) => {
    const expected = { results: 1, prompts: 1, during: true, libraries: 1 };
    endedWell(t, await run('onnxruntime.cjs', [first]), [expected]);
  });
}

test.serial('two copies of the package in a process know each other’s errors', async (t) => {
  const expected = { copies: 2, codes: ['DISPOSED', 'INVALID_OPTION'], ofBoth: true, others: false };
  endedWell(t, await run('two-copies.cjs'), [expected]);
});

test.serial('onnxruntime-node in a worker while the main thread inverts', async (t) => {
  const expected = { results: 1, prompts: 1, beside: true, libraries: 1 };
  endedWell(t, await run('onnxruntime-beside.cjs'), [expected]);
});

test.serial('workers end mid-run (endless): the main thread goes on, no thread stays', async (t) => {
  const code = 1; // what worker.terminate() resolves to
  const expected = { codes: [code, code, code], same: true, threads: 0 };
  endedWell(t, await run('worker-exit.cjs', ['endless']), [expected]);
});
test.serial('workers alone load the addon, one ends mid-run (exit)', async (t) => {
  endedWell(t, await run('worker-alone.cjs', ['exit']), [{ prompts: 3, distinct: 1 }]);
});

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

needs(spawnSync('prlimit').error === undefined, 'prlimit')(
  'a thread that the system refuses is an error, and the next Inverter works',
  async (t) => {
    const expected = { ours: true, code: 'OUT_OF_MEMORY', isOfThread: true, works: true };
    endedWell(t, await run('no-thread.cjs'), [expected]);
  },
);

test.serial('ONNX Runtime’s telemetry is off: no files of its own', async (t) => {
  endedWell(t, await run('telemetry.cjs'), [[]]);
});

test.serial('ten inversions at once give what each gives alone', async (t) => {
  endedWell(t, await run('concurrent.cjs', ['all']), [{ failures: [], same: 10, again: true, distinct: 10 }]);
});
test.serial('aborting some of ten inversions leaves the others as they are alone', async (t) => {
  const failures = [2, 5, 9].map((i) => [i, 'ABORTED', true]);
  endedWell(t, await run('concurrent.cjs', ['abort']), [{ failures, same: 7, again: true, distinct: 10 }]);
});

test.serial('an image file overwritten after invert() was called is read as it was', async (t) => {
  endedWell(t, await run('pixels.cjs', ['overwrite', 'file']), [{ same: 4, of: 4 }]);
});
test.serial('raw pixels transferred after invert() was called are read as they were', async (t) => {
  endedWell(t, await run('pixels.cjs', ['transfer', 'raw'], { gc: true }), [{ same: 4, of: 4 }]);
});
