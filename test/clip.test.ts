import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { loadScenes } from '../bench/scenes';
import { loadDemo } from './models-demo';

const { embeds: reference } = JSON.parse(
  readFileSync(path.join(__dirname, 'fixtures', 'reference-embeds.json'), 'utf8'),
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
    const embed = await (await clip.encodeImage(await clip.prepare(file))).read();
    t.is(embed.length, 256);
    const similarity = cosine(embed, reference[i] ?? []);
    worst = Math.min(worst, similarity);
    t.true(similarity >= 0.995, `${file}: ${similarity}`);
  }
  t.log(`lowest cosine ${worst.toFixed(5)}`);
  await engine.dispose();
});

test('texts are padded to the longest of a call, and truncated at CLIP’s limit with the end token kept', async (t) => {
  const { clip, engine } = await loadDemo();
  const long = Array.from({ length: 60 }, () => 'cat').join(' ');
  const short = clip.tokenize(['a red cat', 'cat']);
  t.is(short.texts, 2);
  t.is(short.ids.length, 2 * 5);
  t.is(short.ids[5 + 3], 0n, 'padded');
  const cut = clip.tokenize([long]);
  t.is(cut.ids.length, 48);
  t.is(cut.ids[0], 1n);
  t.is(cut.ids[47], 2n);
  t.true(clip.overflows(long));
  t.false(clip.overflows('a red cat'));
  await engine.dispose();
});

test('a text’s embedding does not depend on what it is encoded with', async (t) => {
  const { clip, engine } = await loadDemo();
  const texts = ['a flat icon of a cat', 'a cartoon of a red dog', 'two bells'];
  const { ids } = clip.tokenize(texts);
  const width = ids.length / texts.length;
  const encode = async (rows: BigInt64Array): Promise<Float32Array> => {
    const input = { name: 'input_ids', data: rows, rowShape: [width] };
    return (await clip.text.session.run(rows.length / width, [input], 'text_embeds', [clip.embedSize])).read();
  };
  const together = await encode(ids);
  for (const i of texts.keys()) {
    const alone = await encode(ids.slice(i * width, (i + 1) * width));
    t.deepEqual(alone, together.slice(i * clip.embedSize, (i + 1) * clip.embedSize));
  }
  await engine.dispose();
});
