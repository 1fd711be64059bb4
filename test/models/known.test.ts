import path from 'node:path';
import test from 'ava';
import { knownModels, repositoryOf } from '../../lib/models/known';
import { clipManifest, dllmManifest } from '../../lib/models/manifest';

test('every built-in manifest is a manifest', (t) => {
  for (const { kind, manifest = {} } of Object.values(knownModels)) {
    t.notThrows(() => (kind === 'clip' ? clipManifest : dllmManifest).parse(manifest));
  }
});

test('a folder’s repository is told by the cache around it, or by its own name if that is known', (t) => {
  const commit = '0123456789abcdef0123456789abcdef01234567';
  const of = (...parts: string[]): string | undefined => repositoryOf(path.join(path.sep, ...parts));
  t.is(of('hub', 'models--Xenova--clip-vit-base-patch32', 'snapshots', commit), 'Xenova/clip-vit-base-patch32');
  t.is(of('hub', 'models--a--b--c', 'snapshots', commit), 'a/b--c');
  t.is(of('hub', 'models--a--b', 'snapshots', commit, 'onnx'), undefined);
  t.is(of('models', 'clip-vit-base-patch32'), 'Xenova/clip-vit-base-patch32');
  t.is(of('models', 'clip'), undefined);
});
