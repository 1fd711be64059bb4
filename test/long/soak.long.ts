// Processes made to end at random moments: none may crash or hang.
import test from 'ava';
import { philox } from 'fkinv-native/kernels';
import { runScript } from '../helpers/child';

const seed = 20260101;
const perKind = 50;
const longest = 1500; // ms: the loads and the first steps of the inversions

for (const [kind, how] of ['exit', 'worker-exit', 'terminate'].entries()) {
  test(`${perKind} runs end by ${how} at a random moment`, async (t) => {
    const slowest = { ms: 0, of: 0 };
    const end = async (i: number): Promise<void> => {
      const [word = 0] = philox([i, kind, 0, 0], [seed, 0]);
      const at = Math.floor((word / 2 ** 32) * longest);
      const start = performance.now();
      const { code, signal, stdout, stderr } = await runScript('soak.cjs', [how, String(at)]);
      const over = performance.now() - start - at;
      if (over > slowest.ms) Object.assign(slowest, { ms: over, of: at });
      const expected = { code: 0, signal: null, stdout: how === 'exit' ? '' : '8\n', stderr: '' };
      t.deepEqual({ code, signal, stdout, stderr }, expected, `run ${i}, ended after ${at} ms`);
    };
    // Two at a time: each waits most of its time.
    for (let i = 0; i < perKind; i += 2) await Promise.all([end(i), end(i + 1)]);
    t.log(
      `${perKind} of ${perKind}; all but the waiting took at most ${slowest.ms.toFixed(0)} ms (at ${slowest.of} ms)`,
    );
  });
}
