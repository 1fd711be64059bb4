import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Inverter } from '../../lib';
import { loadDemo, logitsOf, root } from '../helpers/models-demo';

interface ParityVector {
  input_ids: number[];
  image_embeds: number[];
  argmax: number[];
  row0: number[];
}
const parity = JSON.parse(readFileSync(path.join(root, 'models', 'dllm', 'parity.json'), 'utf8')) as ParityVector[];

function argmax(row: Float32Array): number {
  return row.reduce((best, value, i) => (value > (row[best] ?? -Infinity) ? i : best), 0);
}

test('the graph gives the parity vectors at both lengths', async (t) => {
  const models = await loadDemo();
  t.deepEqual(parity.map(({ input_ids }) => input_ids.length).sort(), [17, 24]);
  for (const { input_ids, image_embeds, argmax: expected, row0 } of parity) {
    const logits = await logitsOf(models, input_ids, Float32Array.from(image_embeds));
    const { vocab } = models.dllm;
    t.is(logits.length, input_ids.length * vocab);
    const tops = input_ids.map((_, i) => argmax(logits.subarray(i * vocab, (i + 1) * vocab)));
    t.deepEqual(tops, expected);
    for (const [column, value] of row0.entries()) {
      const difference = Math.abs((logits[column] ?? NaN) - value);
      t.true(difference < 2e-3, `length ${input_ids.length}, column ${column}: off by ${difference}`);
    }
  }
  await models.engine.dispose();
});

test('a prompt ends before its first stop token, and specials are no text', async (t) => {
  const { dllm, engine } = await loadDemo();
  const ids = dllm.tokenizer.encode('a red cat');
  t.is(dllm.decode([...ids, 0, ...ids, 1]), 'a red cat');
  t.is(dllm.decode([0, ...ids]), '');
  t.deepEqual(dllm.stops, [0]);
  t.deepEqual(dllm.suppressed, [1]);
  t.is(dllm.maxLength, 32);
  await engine.dispose();
});

test('a prompt does not begin with the space of its first token, and is what CLIP reads', async (t) => {
  const { clip, dllm, engine } = await loadDemo();
  const ids = dllm.tokenizer.encode(' two bells');
  t.is(dllm.decode(ids), ' two bells');
  t.is(dllm.prompt(ids), 'two bells');
  t.deepEqual(clip.tokenize([' two bells']), clip.tokenize(['two bells']));
  await using inverter = await Inverter.load({ device: 'cpu' });
  const options = { template: ' two bells [3]', particles: 2, steps: 2 };
  const { prompt, tokens, particles } = await inverter.invert(path.join(root, 'examples', 'bells.png'), options);
  t.regex(prompt, /^two bells/);
  t.is(dllm.decode(tokens), ` ${prompt}`);
  t.true(particles.every((particle) => particle.prompt.startsWith('two bells')));
  await engine.dispose();
});
