// Memory that must stay flat over many rounds of the same work.
import test from 'ava';
import { runScript } from '../helpers/child';

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

// Resident memory wanders by some 20 MB around its level, by which of malloc's arenas the threads of a round get: so
// the mean over the first looks after the warm-up is compared with the mean over as many at the end.
for (const { what, work, rounds, every, bound } of [
  { what: '1,000 loads and disposals', work: 'load', rounds: 1000, every: 20, bound: 20 },
  { what: '1,000 inversions', work: 'invert', rounds: 1000, every: 10, bound: 10 },
  { what: '300 batches left half way', work: 'invertAll', rounds: 300, every: 3, bound: 10 },
]) {
  test(`memory is flat over ${what}`, async (t) => {
    const { code, signal, stdout, stderr } = await runScript(
      'memory.cjs',
      [work, String(rounds), String(every)],
      ['--expose-gc'],
    );
    t.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
    const looks = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as [number, number]);
    const warm = looks.filter(([round]) => round > rounds / 10).map(([, megabytes]) => megabytes);
    const share = Math.floor(warm.length / 4);
    const [first, last] = [mean(warm.slice(0, share)), mean(warm.slice(-share))];
    t.log(`rss ${first.toFixed(1)} MB at first, ${last.toFixed(1)} MB at last (means of ${share} looks)`);
    t.log(`between ${Math.min(...warm).toFixed(1)} and ${Math.max(...warm).toFixed(1)} MB, bound +${bound} MB`);
    t.true(last - first < bound, `${what}: grew by ${(last - first).toFixed(1)} MB`);
  });
}
