import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { loadScenes } from '../../bench/scenes';
import { loadDemo, preparedFor } from '../helpers/models-demo';

const { embeds: reference } = JSON.parse(
  readFileSync(path.join(__dirname, '..', 'fixtures', 'reference-embeds.json'), 'utf8'),
) as { embeds: number[][] };

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? NaN;
    const y = b[i] ?? NaN;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / Math.sqrt(aa * bb);
}

test('every scene’s image embedding is within cosine 0.995 of the reference’s', async (t) => {
  const { clip, engine } = await loadDemo();
  const scenes = loadScenes();
  t.is(scenes.length, 64);
  let worst = 1;
  for (const [i, { file }] of scenes.entries()) {
    const embed = await (await clip.encodeImage(await preparedFor(clip, file))).read();
    t.is(embed.length, 256);
    const similarity = cosine(embed, reference[i] ?? []);
    worst = Math.min(worst, similarity);
    t.true(similarity >= 0.995, `${file}: ${similarity}`);
  }
  t.log(`lowest cosine ${worst.toFixed(5)}`);
  await engine.dispose();
});

test('texts come one after the other, unpadded, and truncated at CLIP’s limit with the end token kept', async (t) => {
  const { clip, engine } = await loadDemo();
  const long = Array.from({ length: 60 }, () => 'cat').join(' ');
  const { ids, widths, mask } = clip.tokenize(['a red cat', 'cat', long]);
  t.is(mask.length, 0);
  t.deepEqual([...widths], [5, 3, 48]);
  t.is(ids.length, 5 + 3 + 48);
  t.deepEqual(
    Array.from(ids.slice(0, 8), Number),
    ['a red cat', 'cat'].flatMap((text) => clip.tokenizer.encode(text)),
  );
  t.is(ids[8], 1n);
  t.is(ids[55], 2n);
  t.true(clip.overflows(long));
  t.false(clip.overflows('a red cat'));
  t.deepEqual(clip.tokenize([]), { ids: new BigInt64Array(0), widths: new Int32Array(0), mask: new BigInt64Array(0) });
  await engine.dispose();
});

test('a text’s embedding does not depend on what it is encoded with', async (t) => {
  const { clip, engine } = await loadDemo();
  const width = 6;
  const texts = ['a red cat', 'two blue bells', 'a big dog'].map((text) => clip.tokenizer.encode(text));
  t.true(texts.every((ids) => ids.length <= width));
  const rows = texts.map((ids) => BigInt64Array.from({ length: width }, (_, i) => BigInt(ids[i] ?? 0)));
  const encode = async (some: BigInt64Array[]): Promise<Float32Array> => {
    const data = BigInt64Array.from(some.flatMap((row) => [...row]));
    const input = { name: 'input_ids', data, rowShape: [width] };
    return (await clip.text.session.run(some.length, [input], 'text_embeds', [clip.embedSize])).read();
  };
  const together = await encode(rows);
  for (const [i, row] of rows.entries()) {
    t.deepEqual(await encode([row]), together.slice(i * clip.embedSize, (i + 1) * clip.embedSize));
  }
  await engine.dispose();
});
