import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { FkinvError } from '../../lib/errors';
import { ModelFolder } from '../../lib/models/model-folder';
import { Tokenizer } from '../../lib/models/tokenizer';
import { root } from '../helpers/models-demo';

const { captions } = JSON.parse(readFileSync(path.join(__dirname, '..', 'fixtures', 'tokenizer-ids.json'), 'utf8')) as {
  captions: { text: string; clip: number[]; dllm: number[]; decoded: string }[];
};
let folder: string;
test.before(() => (folder = mkdtempSync(path.join(tmpdir(), 'fkinv-tokenizer-'))));
test.after.always(() => rmSync(folder, { recursive: true }));

/** The demo CLIP's tokenizer with other parts in its tokenizer.json. */
async function altered(name: string, parts: object): Promise<Tokenizer> {
  const at = path.join(folder, name);
  cpSync(path.join(root, 'models', 'clip'), at, { recursive: true });
  const file = path.join(at, 'tokenizer.json');
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), ...parts }));
  return Tokenizer.load(new ModelFolder(at));
}

const load = (name: string): Promise<Tokenizer> => Tokenizer.load(new ModelFolder(path.join(root, 'models', name)));

test('the CLIP tokenizer gives the reference’s ids of every caption', async (t) => {
  const tokenizer = await load('clip');
  t.is(captions.length, 320);
  for (const { text, clip } of captions) t.deepEqual(tokenizer.encode(text), clip, text);
  t.is(tokenizer.maxLength, 48);
  t.is(tokenizer.padId, 0);
});

test('the dLLM tokenizer gives the reference’s ids and texts of every caption', async (t) => {
  const tokenizer = await load('dllm');
  for (const { text, dllm, decoded } of captions) {
    t.deepEqual(tokenizer.encode(text), dllm, text);
    t.is(tokenizer.decode(dllm), decoded);
    t.is(decoded, text);
  }
  t.is(tokenizer.size, 2048);
  t.deepEqual(tokenizer.specialIds, [0, 1]);
  t.is(tokenizer.decode([]), '');
});

test('a tokenizer whose regular expressions backtrack is refused where they do, and goes on', async (t) => {
  const backtracking = { Regex: "([a-z]+)+$|[a-z0-9'-]+" };
  const text = `${'a'.repeat(60)} !`;
  const message = new RegExp(`tokenizer\\.json: a regular expression of the tokenizer takes over 1 s for .*a{60}.* !`);
  const splits = { type: 'Split', pattern: backtracking, behavior: 'Removed', invert: true };
  const encoding = await altered('split', { pre_tokenizer: splits });
  t.throws(() => encoding.encodeAll(['a cat', text]), { instanceOf: FkinvError, code: 'MODEL_INVALID', message });
  t.deepEqual(encoding.encodeAll(['a cat', 'two bells']), (await load('clip')).encodeAll(['a cat', 'two bells']));

  const replace = { type: 'Replace', pattern: { Regex: '([a-z]+ *)+$' }, content: '' };
  const decoder = { type: 'Sequence', decoders: [{ type: 'Fuse' }, replace] };
  const decoding = await altered('replace', { decoder });
  const ids = decoding.encode(`${'a '.repeat(60)},`, { specials: false });
  const late = { instanceOf: FkinvError, code: 'MODEL_INVALID' };
  t.throws(() => decoding.decode(ids), late);
});
