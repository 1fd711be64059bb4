import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { ModelFolder } from '../../lib/models/model-folder';
import { Tokenizer } from '../../lib/models/tokenizer';
import { root } from '../helpers/models-demo';

const { captions } = JSON.parse(readFileSync(path.join(__dirname, '..', 'fixtures', 'tokenizer-ids.json'), 'utf8')) as {
  captions: { text: string; clip: number[]; dllm: number[]; decoded: string }[];
};
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
