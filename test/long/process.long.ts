// Whole processes that load the addon: workers that end, Inverters that are dropped, and images that change meanwhile.
import test from 'ava';
import { endedWell, run } from '../helpers/processes';

test('workers end mid-run (exit): the main thread goes on, no thread stays', async (t) => {
  endedWell(t, await run('worker-exit.cjs', ['exit']), [{ codes: [7, 7, 7], same: true, threads: 0 }]);
});
test('workers alone load the addon, one ends mid-run (endless)', async (t) => {
  endedWell(t, await run('worker-alone.cjs', ['endless']), [{ prompts: 3, distinct: 1 }]);
});

test('Inverters dropped without dispose are collected with their threads', async (t) => {
  endedWell(t, await run('collect.cjs', [], { gc: true }), [{ threads: 0, prompt: true }]);
});

test('a seed gives the same on 1, 2, 3 and 4 threads, and on two Inverters at once', async (t) => {
  endedWell(t, await run('equal.cjs'), [{ runs: 6, distinct: [1, 1, 1, 1, 1, 1], different: 6 }]);
});

test('raw pixels overwritten after invert() was called are read as they were', async (t) => {
  endedWell(t, await run('pixels.cjs', ['overwrite', 'raw']), [{ same: 4, of: 4 }]);
});
test('an image file transferred after invert() was called is read as it was', async (t) => {
  endedWell(t, await run('pixels.cjs', ['transfer', 'file'], { gc: true }), [{ same: 4, of: 4 }]);
});
