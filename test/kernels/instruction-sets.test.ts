// The vectorised kernels, in every instruction set that this processor has. All of the kernels' tests are run in each of
// them by test/long/kernels.long.ts.
import test from 'ava';
import { FkinvError, Inverter } from 'fkinv-native';
import { coupling, draw, type InstructionSet } from 'fkinv-native/kernels';
import { native } from '../../lib/native/addon';
import { instructionSets } from '../../lib/schemes';
import { bells } from '../helpers/fkinv';
import { needs } from '../helpers/needs';
import { generator, hills, normals } from '../helpers/kernels/golden';
import { faults, stateOf } from '../helpers/kernels/similarity';

const there = native.instructionSets() as InstructionSet[];

for (const set of instructionSets) {
  const has = needs(there.includes(set), `a processor with ${set}`);

  has(`${set}: results are those of the baseline to rounding`, (t) => {
    for (const [positions, vocab] of [
      [1, 5],
      [7, 1030],
      [24, 2048],
      [77, 3000],
      [3, 40000],
    ] as const) {
      const logits = normals(2 * positions * vocab, vocab).map((z, i) => (i % 13 === 5 ? -Infinity : 6 * z));
      const [ours, theirs] = [set, 'baseline' as const].map((instructionSet) =>
        coupling(logits, { positions, vocab, instructionSet }),
      );
      if (ours === undefined || theirs === undefined) return t.fail();
      for (const q of [0, 1]) t.deepEqual(faults(stateOf(ours, q), stateOf(theirs, q)), [], `${positions} × ${vocab}`);
    }
  });

  has(`${set}: draws are those of the baseline`, (t) => {
    for (const vocab of [5, 1030, 2048, 50257]) {
      const rows = Math.ceil(2e6 / vocab / 10);
      const logits = hills(rows * vocab, vocab);
      const uniform = generator(vocab);
      const u = Float64Array.from({ length: rows }, uniform);
      const uInside = Float64Array.from({ length: rows }, uniform);
      for (const proposal of [{}, { temperature: 0 }, { temperature: 0.3 }, { topK: 40, topP: 0.9 }]) {
        const options = { vocab, u, uInside, ...proposal };
        const tokens = draw(logits, { ...options, instructionSet: set });
        t.deepEqual(tokens, draw(logits, { ...options, instructionSet: 'baseline' }), JSON.stringify(proposal));
      }
    }
  });
}

test('an instruction set that this processor has not, or that there is not, gives INVALID_OPTION', (t) => {
  for (const instructionSet of ['sse9', '', 7, null, ...instructionSets.filter((set) => !there.includes(set))]) {
    const options = { positions: 1, vocab: 2, instructionSet: instructionSet as InstructionSet };
    t.throws(() => coupling(Float32Array.of(1, 2), options), {
      instanceOf: FkinvError,
      code: 'INVALID_OPTION',
      message: /instructionSet: must be one of baseline/,
    });
  }
});

test.serial('FKINV_INSTRUCTION_SET is read when an Inverter is loaded', async (t) => {
  t.teardown(() => delete process.env['FKINV_INSTRUCTION_SET']);
  process.env['FKINV_INSTRUCTION_SET'] = 'sse9';
  await t.throwsAsync(Inverter.load(), { instanceOf: FkinvError, code: 'INVALID_OPTION', message: /not sse9$/ });
  process.env['FKINV_INSTRUCTION_SET'] = 'baseline';
  const inverter = await Inverter.load();
  t.teardown(() => inverter.dispose());
  t.regex((await inverter.invert(bells, { steps: 8 })).prompt, /\w/);
});
