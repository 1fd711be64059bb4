// The README's second example, against a Hub of the test's own: a public pair is fetched, and a photograph is inverted with it.
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { blocksUnder } from '../helpers/documents';
import { bells, cli, node, type Outcome } from '../helpers/fkinv';
import { TestHub } from '../helpers/hub';
import { publicPair } from '../onnx/public-pair';

let workspace: string;
let hub: TestHub;
test.before(async () => {
  workspace = await mkdtemp(path.join(tmpdir(), 'fkinv-pair-'));
  hub = await TestHub.open(await publicPair(workspace));
  await copyFile(bells, path.join(workspace, 'photo.jpg')); // what a file is called decides nothing
});
test.after.always(async () => {
  await hub.close();
  await rm(workspace, { recursive: true });
});

/** Runs a command of a document in the workspace, with more flags. */
function run(command: string, ...flags: string[]): Promise<Outcome> {
  const [npx, name, ...args] = command
    .trim()
    .replaceAll(/\\\n\s*/g, '')
    .split(' ');
  if (npx !== 'npx' || name !== 'fkinv') throw new Error(`not a command of fkinv: ${command}`);
  const given = args.map((arg) => (arg === 'photo.jpg' ? path.join(workspace, arg) : arg));
  const env = {
    HF_ENDPOINT: hub.endpoint,
    HF_HUB_CACHE: path.join(workspace, 'hub'),
    XDG_CACHE_HOME: path.join(workspace, 'cache'),
  };
  return node([cli, ...given, ...flags], env);
}

test('the public pair of the README: fetched and checked, and a photograph inverted with it', async (t) => {
  const [block] = blocksUnder('README.md', 'A photograph');
  t.is(blocksUnder('docs/models.md', 'A public pair')[0]?.code, block?.code);
  const [pull = '', invert = ''] = block?.code.split(/(?<!\\)\n/) ?? [];
  const early = await run(invert, '--quiet');
  t.is(early.code, 1);
  t.regex(early.stderr, /npx fkinv models pull hf:.*MODEL_NOT_FOUND/);

  const pulled = await run(pull);
  t.is(pulled.code, 0, pulled.stderr);
  const { code, stdout, stderr } = await run(invert, '--json', '--steps', '2', '--particles', '2');
  t.is(code, 0, stderr);
  const { prompt, hints } = JSON.parse(stdout) as { prompt: string; hints: string[] };
  t.regex(prompt, /^w\w+( w\w+){7,31}$/, 'words of the model, and no think id, special token or unused column');
  t.is(hints.length, 5);
});
