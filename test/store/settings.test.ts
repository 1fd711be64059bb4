// Where models come from and go to, by the environment.
import { mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FkinvError } from '../../lib/errors';
import { storeSettings, type StoreSettings } from '../../lib/store/settings';
import { emptyFolder } from '../helpers/store';

const names = [
  'HF_ENDPOINT',
  'HF_HUB_CACHE',
  'HUGGINGFACE_HUB_CACHE',
  'HF_HOME',
  'XDG_CACHE_HOME',
  'HF_TOKEN',
  'HUGGING_FACE_HUB_TOKEN',
  'HF_TOKEN_PATH',
  'HF_HUB_OFFLINE',
];

/** The settings with these variables and none of the others; the tests are of one process, one after the other. */
function settingsWith(t: ExecutionContext, variables: Record<string, string>): StoreSettings {
  const before = Object.fromEntries(names.map((name) => [name, process.env[name]]));
  t.teardown(() => Object.assign(process.env, before));
  for (const name of names) Reflect.deleteProperty(process.env, name);
  Object.assign(process.env, variables);
  try {
    return storeSettings();
  } finally {
    for (const name of names) Reflect.deleteProperty(process.env, name);
  }
}

test.serial('the cache is where Python tools have it', (t) => {
  const cacheOf = (variables: Record<string, string>): string => settingsWith(t, variables).cache;
  t.is(cacheOf({}), path.join(homedir(), '.cache', 'huggingface', 'hub'));
  t.is(cacheOf({ XDG_CACHE_HOME: '/xdg' }), path.resolve('/xdg/huggingface/hub'));
  t.is(cacheOf({ XDG_CACHE_HOME: '/xdg', HF_HOME: '~/hf' }), path.join(homedir(), 'hf', 'hub'));
  t.is(cacheOf({ HF_HOME: '/hf', HUGGINGFACE_HUB_CACHE: '/old' }), path.resolve('/old'));
  t.is(cacheOf({ HF_HOME: '/hf', HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '/cache' }), path.resolve('/cache'));
  t.is(cacheOf({ HF_HUB_CACHE: '', HF_HOME: '' }), path.join(homedir(), '.cache', 'huggingface', 'hub'));
});

test.serial('the token is that of the variable, or of who logged in', (t) => {
  const home = emptyFolder(t);
  const tokenOf = (variables: Record<string, string>): string | undefined => settingsWith(t, variables).token;
  t.is(tokenOf({ HF_HOME: home }), undefined);
  writeFileSync(path.join(home, 'token'), 'hf_file\n');
  t.is(tokenOf({ HF_HOME: home }), 'hf_file');
  t.is(tokenOf({ HF_HOME: home, HF_TOKEN: ' hf_variable ' }), 'hf_variable');
  t.is(tokenOf({ HF_HOME: home, HUGGING_FACE_HUB_TOKEN: 'hf_old' }), 'hf_old');
  mkdirSync(path.join(home, 'other'));
  writeFileSync(path.join(home, 'other', 'mine'), 'hf_other');
  t.is(tokenOf({ HF_HOME: home, HF_TOKEN_PATH: path.join(home, 'other', 'mine') }), 'hf_other');
  writeFileSync(path.join(home, 'token'), '\n');
  t.is(tokenOf({ HF_HOME: home }), undefined);
});

test.serial('the Hub may be another address, or none', (t) => {
  t.is(settingsWith(t, {}).endpoint, 'https://huggingface.co');
  t.is(settingsWith(t, { HF_ENDPOINT: 'https://mirror.example/hf/' }).endpoint, 'https://mirror.example/hf');
  for (const wrong of [
    'mirror.example',
    'file:///models',
    'https://me:secret@mirror.example',
    'https://mirror.example?x',
  ]) {
    const error = t.throws(() => settingsWith(t, { HF_ENDPOINT: wrong }), {
      instanceOf: FkinvError,
      code: 'INVALID_OPTION',
      message: /^HF_ENDPOINT: /,
    });
    t.false(error.message.includes('secret'));
  }
  t.false(settingsWith(t, { HF_HUB_OFFLINE: '0' }).isOffline);
  for (const yes of ['1', 'ON', 'yes', 'True']) t.true(settingsWith(t, { HF_HUB_OFFLINE: yes }).isOffline);
});
