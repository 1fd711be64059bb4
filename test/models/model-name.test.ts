// Names of models: folders, and repositories of the Hugging Face Hub.
import test from 'ava';
import { FkinvError } from '../../lib/errors';
import { Inverter } from '../../lib/inverter';
import { nameOf, parseModelName, type HubName } from '../../lib/models/model-name';

const names: Record<string, Omit<HubName, 'kind'>> = {
  'hf:Xenova/clip-vit-base-patch32': { repository: 'Xenova/clip-vit-base-patch32' },
  'hf:org/name:q4f16': { repository: 'org/name', variant: 'q4f16' },
  'hf:org/name@refs/pr/1': { repository: 'org/name', revision: 'refs/pr/1' },
  'hf:immich-app/ViT-H-14__laion2b-s32b-b79k:fp16@v1.0': {
    repository: 'immich-app/ViT-H-14__laion2b-s32b-b79k',
    variant: 'fp16',
    revision: 'v1.0',
  },
};
for (const [text, name] of Object.entries(names)) {
  test(`${text} is of the Hub`, (t) => {
    t.deepEqual(parseModelName(text), { kind: 'hub', ...name });
    t.is(nameOf(name), text);
  });
}

test('anything else is a folder', (t) => {
  for (const path of ['models/dllm', './hf:org/name', '/hf:org/name', 'HF:org/name', 'C:\\models\\clip', '..']) {
    t.deepEqual(parseModelName(path), { kind: 'folder', path });
  }
});

const wrong: Record<string, RegExp> = {
  'hf:': /cannot be read/,
  'hf:name': /cannot be read/,
  'hf:org/name/more': /cannot be read/,
  'hf:org/name:a:b': /cannot be read/,
  'hf:/name': /a part of it is empty/,
  'hf:org/': /a part of it is empty/,
  'hf:org/name:': /a part of it is empty/,
  'hf:org/name@': /a part of it is empty/,
  'hf:org/name@a//b': /a part of it is empty/,
  'hf:../name': /no part of it may have \.\./,
  'hf:org/..': /no part of it may have \.\./,
  'hf:org/name@../../x': /no part of it may have \.\./,
  'hf:org/a..b': /no part of it may have \.\./,
  'hf:org/na me': /"na me" has characters other than/,
  'hf:org/na\u0000me': /has characters other than/,
  'hf:org/name@main?x=1': /"main\?x=1" has characters other than/,
  'hf:org\\name/x': /has characters other than/,
  'hf:.org/name': /"\.org" begins or ends with/,
  'hf:org/name@-f': /"-f" begins or ends with/,
  'hf:org/a--b': /no name on the Hub has --/,
};
for (const [text, message] of Object.entries(wrong)) {
  test(`${JSON.stringify(text)} is refused`, (t) => {
    const error = t.throws(() => parseModelName(text), { instanceOf: FkinvError, code: 'INVALID_OPTION', message });
    t.true(
      error.message.endsWith(
        '(a model of the Hugging Face Hub is named hf:org/name, with :variant and @revision behind it)',
      ),
    );
  });
}

test('Inverter.load tells of a wrong name as of any option', async (t) => {
  await t.throwsAsync(Inverter.load({ clip: 'hf:org/..' }), {
    code: 'INVALID_OPTION',
    message: /^options of load: clip: hf:org\/\.\.: no part of it may have \.\. /,
  });
});
