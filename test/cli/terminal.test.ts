// What the command draws on a terminal; util-linux's `script` gives it one.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { bells, cli, quick, squids } from '../helpers/fkinv';
import { needs } from '../helpers/needs';
import { fixtures, openStore } from '../helpers/store';
import { float32, onnxFile } from '../onnx/builder';

const dllm = { folder: path.join(fixtures, 'dllm') };

const escape = '\u001b';
const hideCursor = '\u001b[?25l';
const showCursor = '\u001b[?25h';
const bold = '\u001b[1m';

/** What `fkinv …args` writes to a terminal of so many columns; `onText` is given what there is so far, and the keyboard. */
async function onTerminal(
  args: string[],
  { env = {}, columns = 80, onText }: { env?: NodeJS.ProcessEnv; columns?: number; onText?: OnText } = {},
): Promise<string> {
  const command = [process.execPath, cli, ...args].map((word) => `'${word}'`).join(' ');
  const environment: NodeJS.ProcessEnv = { ...process.env };
  delete environment['FORCE_COLOR'];
  delete environment['NO_COLOR'];
  delete environment['CI']; // to Node, a terminal without colours
  Object.assign(environment, { TERM: 'xterm-256color' }, env);
  // Ctrl-C goes to the shell too, which a trap keeps alive for the last line.
  const line = `trap : INT; stty cols ${columns}; ${command}; echo "code $?"`;
  const child = spawn('script', ['-qec', line, '/dev/null'], { env: environment });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    onText?.(text, (keys) => child.stdin.write(keys));
  });
  await once(child, 'close');
  return text;
}
type OnText = (text: string, type: (keys: string) => void) => void;

const terminal = needs(spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0, "util-linux's script");

terminal('a bar while it works, which leaves nothing behind', async (t) => {
  const text = await onTerminal(['invert', bells, ...quick]);
  t.regex(text, /bells\.png \[[=-]{34}\] \d+ %/);
  t.true(text.includes(hideCursor) && text.lastIndexOf(showCursor) > text.lastIndexOf(hideCursor));
  const [, after = ''] = text.split(showCursor);
  t.regex(after, /code 0/);
  t.true(after.includes(bold), 'the prompt stands out');
});

terminal('a narrow terminal has a short bar, and the end of the name', async (t) => {
  const text = await onTerminal(['invert', bells, ...quick], { columns: 30 });
  t.regex(text, /…\S*\.png \[[=-]{9}\] \d+ %/);
});

terminal('several images are one bar, which counts those that fail', async (t) => {
  const text = await onTerminal(['invert', bells, 'missing.png', squids, '--max-batch', '2', ...quick]);
  t.regex(text, /3 images \[[=-]{34}\] \d+ %/);
  t.regex(text, /3 images \[=+\] 100 %/);
});

terminal('a batch is a bar with a rate and the time left, which makes room for what fails', async (t) => {
  const at = await mkdtemp(path.join(tmpdir(), 'fkinv-bar-'));
  t.teardown(() => rm(at, { recursive: true }));
  for (const name of ['a.png', 'c.png']) await copyFile(bells, path.join(at, name));
  await writeFile(path.join(at, 'b.png'), '');
  // One after the other, and longer than the bar is waited for.
  const flags = ['--max-batch', '8', '--steps', '300'];
  const text = await onTerminal(['batch', at, '--out', path.join(at, 'r.jsonl'), ...flags]);
  t.regex(text, /error:\S* .*b\.png is empty \(IMAGE_INVALID\)\r\n/);
  t.regex(text, /\[[=-]{24}\] 2 of 3 images, 1 failed, \d+\.\d\d\/s, 0:\d\d left/);
  t.regex(text, /2 done\S* {2}0 skipped {2}\S*1 failed \(1 IMAGE_INVALID\)/);
  t.true(text.lastIndexOf(showCursor) > text.lastIndexOf(hideCursor));
  t.regex(text, /code 1\r\n$/);
});

terminal('no bar with --quiet, nor on a dumb terminal; no colours there, nor with NO_COLOR', async (t) => {
  const quiet = await onTerminal(['invert', bells, '--quiet', ...quick]);
  t.notRegex(quiet, /\[[=-]+\]/);
  t.regex(quiet, /^[\w ,]+\r\ncode 0\r\n$/);
  const dumb = await onTerminal(['invert', bells, ...quick], { env: { TERM: 'dumb' } });
  t.false(dumb.includes(escape));
  t.notRegex(dumb, /\[[=-]+\]/);
  const plain = await onTerminal(['invert', bells, ...quick], { env: { NO_COLOR: '1' } });
  t.regex(plain, /\[[=-]+\]/);
  t.false(plain.includes(bold));
});

terminal('nothing of a file\u2019s name is obeyed by the terminal', async (t) => {
  const at = await mkdtemp(path.join(tmpdir(), 'fkinv-names-'));
  t.teardown(() => rm(at, { recursive: true }));
  const evil = '\u001b]0;title\u0007\u009b31m\u202e\n';
  const image = path.join(at, `${evil}.png`);
  const broken = path.join(at, `${evil}0.png`);
  await copyFile(bells, image);
  await writeFile(broken, '');
  const shown = [
    await onTerminal(['invert', image, broken, ...quick]),
    await onTerminal(['invert', image, broken, '--json', ...quick]),
    await onTerminal(['batch', at, '--out', path.join(at, `${evil}r.jsonl`), ...quick]),
    await onTerminal(['batch', at, '--out', '-', ...quick]),
    await onTerminal(['profile', image, '--trace', path.join(at, evil, 'x'), ...quick]),
    await onTerminal(['models', path.join(at, evil)]),
    await onTerminal(['doctor', '--clip', path.join(at, evil)]),
  ];
  for (const text of shown) {
    t.true(text.includes('\\u009b31m'), 'it is shown escaped');
    t.false(text.includes('\u001b]0;title'));
    for (const control of ['\u0007', '\u009b', '\u202e']) t.false(text.includes(control));
  }
});

terminal('Ctrl-C takes the bar away and gives the cursor back', async (t) => {
  let isTyped = false;
  const text = await onTerminal(['invert', bells, '--steps', '1000'], {
    onText(shown, type) {
      if (isTyped || !/\] [1-9]\d* %/.test(shown)) return;
      isTyped = true;
      type('\u0003');
    },
  });
  const after = text.slice(text.lastIndexOf(showCursor));
  t.true(text.lastIndexOf(showCursor) > text.lastIndexOf(hideCursor));
  t.regex(after, /interrupted\r\ncode 130\r\n$/);
  t.notRegex(after, / %/);
});

terminal('a pull asks, shows a bar with rate and time left, and is told no or interrupted', async (t) => {
  const content = Buffer.from(
    onnxFile({
      nodes: [],
      inputs: [],
      output: { name: 'y', type: 'float32', dims: [100_000] },
      constants: {
        y: float32(
          [100_000],
          Array.from({ length: 100_000 }, (_, i) => i),
        ),
      },
    }),
  );
  const { hub, cache } = await openStore(t, { 'org/dllm': { ...dllm, files: { 'model.onnx': content } } });
  hub.fault = (request) => (request.at === 'files' ? { slow: 50 } : undefined);
  const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_HOME: cache, HF_TOKEN: '' };
  const pull = (keys: string): Promise<string> => {
    let isAsked = false;
    return onTerminal(['models', 'pull', 'hf:org/dllm', '--device', 'cpu'], {
      env,
      columns: 120,
      onText(text, type) {
        if (!isAsked && text.includes('Fetch it? [Y/n] ')) type(keys);
        isAsked ||= text.includes('Fetch it? [Y/n] ');
      },
    });
  };
  const no = await pull('n\r');
  t.regex(no, /hf:org\/dllm: fp32, licence not stated; 401 kB, /);
  t.regex(no, /error:\S* hf:org\/dllm was not fetched \(ABORTED\)\r\ncode 1\r\n$/);
  t.regex(await pull('\u0003'), /interrupted\r\ncode 130\r\n$/);
  t.is(hub.requests.filter(({ at }) => at === 'files').length, 0);
  const yes = await pull('\r');
  t.regex(yes, /model\.onnx \[[=-]{16}\] \d+ % of 401 kB, \d+ kB\/s, 0:\d\d left/);
  t.regex(yes, /snapshots\/[0-9a-f]{40}\r\ncode 0\r\n$/);
  t.true(yes.lastIndexOf(showCursor) > yes.lastIndexOf(hideCursor));
});
