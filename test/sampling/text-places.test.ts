import test from 'ava';
import fc from 'fast-check';
import { TextPlaces } from '../../lib/sampling/text-places';

const steps = fc.array(fc.array(fc.constantFrom('', 'a', 'b', 'c', 'd', 'e', 'f'), { maxLength: 6 }), {
  maxLength: 12,
});

test('a text stays where it is while steps have it, others come to free places below the most of a step', (t) => {
  fc.assert(
    fc.property(steps, (lists) => {
      const textPlaces = new TextPlaces();
      const most = Math.max(0, ...lists.map((list) => new Set(list).size));
      let before = new Map<string, number>();
      for (const list of lists) {
        const { fresh, places } = textPlaces.take(list);
        const distinct = [...new Set(list)];
        t.deepEqual(
          fresh,
          distinct.filter((text) => !before.has(text)),
        );
        t.deepEqual(
          [...places],
          fresh.map((text) => textPlaces.of(text)),
        );
        const now = new Map(distinct.map((text) => [text, textPlaces.of(text)]));
        t.is(new Set(now.values()).size, distinct.length, 'a place each');
        for (const [text, place] of now) {
          t.true(place >= 0 && place < most);
          t.is(place, before.get(text) ?? place);
        }
        before = now;
      }
    }),
  );
});

test('no text is at a place of the step, and a cleared step is forgotten', (t) => {
  const textPlaces = new TextPlaces();
  textPlaces.take(['a', 'b']);
  textPlaces.take(['b']);
  t.is(textPlaces.of(undefined), 1);
  textPlaces.clear();
  t.deepEqual(textPlaces.take(['b', 'c']), { fresh: ['b', 'c'], places: Int32Array.of(0, 1) });
});
