import path from 'node:path';
import test from 'ava';
import { loadScenes, scenesFolder } from '../../bench/scenes';
import { Hints } from '../../lib/hints/hints';
import { readWords } from '../../lib/hints/words';
import { loadDemo, preparedFor } from '../helpers/models-demo';
import { withCache } from '../helpers/cache';

withCache();

test('of the scenes of one object, four fifths have it among five hints from the world’s words', async (t) => {
  const { clip, engine } = await loadDemo();
  t.teardown(() => engine.dispose());
  const hints = new Hints(await readWords(path.join(scenesFolder, 'words.txt')), t.log);
  const scenes = loadScenes().flatMap(({ file, facts }) => {
    const objects = Object.keys(facts).flatMap((fact) => (fact.startsWith('object: ') ? [fact.slice(8)] : []));
    return objects.length === 1 ? [{ file, object: objects[0] ?? '' }] : [];
  });
  let found = 0;
  for (const { file, object } of scenes) {
    const embed = await clip.encodeImage(await preparedFor(clip, file));
    const five = await hints.of([await embed.read()], 5, { clip, engine }, { ended: undefined });
    t.is(five.length, 5);
    if (five.includes(object)) found++;
    else t.log(`${path.basename(file)}, ${object}: ${five.join(', ')}`);
  }
  t.log(`${found} of ${scenes.length}`);
  t.true(found >= 0.8 * scenes.length);
});
