import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { cli, fkinv, fkinvEach, root } from '../helpers/fkinv';
import { needs } from '../helpers/needs';

const files = ':0\n';
const noFiles = ':4\n';

const answers: [string[], string | RegExp][] = [
  [['inv'], `invert\tRecover a prompt of each image.\n${noFiles}`],
  [[''], /^(?=[^]*invert\t)(?=[^]*complete\t)(?=[^]*help\t)[^]*:4\n$/],
  [['--v'], `--version\tprint the version\n${noFiles}`],
  [['invert', ''], files],
  [['invert', 'pic'], files],
  [['invert', '-q', ''], files],
  [['invert', '--seed', '3', 'pic'], files],
  [['invert', '--dllm', ''], files],
  [['invert', '--clip=mod'], files],
  [['invert', '--', '--'], files],
  [['invert', '--order', ''], `random\nconfidence\nentropy\nmargin\n${noFiles}`],
  [['invert', '--order', 'co'], `confidence\n${noFiles}`],
  [['invert', '--order=co'], `confidence\n${noFiles}`],
  [['invert', '--device', ''], `auto\ncpu\ncuda\ncuda:1\n${noFiles}`],
  [['models', '--device=cp'], `cpu\n${noFiles}`],
  [['models', 'pu'], `pull\tFetch models from the Hugging Face Hub into its cache.\n${files}`],
  [['models', 'pull', '--y'], `--yes\tfetch without a question\n${noFiles}`],
  [['models', 'pull', ''], noFiles],
  [['models', 'check', ''], files],
  [['invert', '--particles', ''], noFiles],
  [['invert', 'a.png', '--lambda-e'], /^--lambda-edit\tweight of rewardEdit.*\n:4\n$/],
  [['complete', 'z'], `zsh\n${noFiles}`],
  [['profile', ''], files],
  [['profile', '--trace', ''], files],
  [['profile', '--tr'], /^--trace\twrite a Chrome trace.*\n:4\n$/],
  [['help', 'inv'], `invert\tRecover a prompt of each image.\n${noFiles}`],
  [['zebra', '--v'], `--version\tprint the version\n${noFiles}`],
  [[], /invert\t/],
];
const outcomes = fkinvEach(answers.map(([words]) => ['complete', '--', ...words]));
for (const [i, [words, expected]] of answers.entries()) {
  test(`completes ${JSON.stringify(words)}`, async (t) => {
    const { code, stdout, stderr } = (await outcomes)[i] ?? t.fail();
    t.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    if (typeof expected === 'string') t.is(stdout, expected);
    else t.regex(stdout, expected);
  });
}

test('an answer loads neither engine nor image decoder: a key press waits for it', async (t) => {
  const code = `require(${JSON.stringify(path.join(root, 'dist', 'cli', 'run'))})
    .run(['complete', '--', 'invert', '--o'])
    .then(() => console.log(Object.keys(require.cache).join('\\n')))`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', code]);
  t.true(stdout.startsWith('--order\t'));
  t.true(stdout.includes(path.join('dist', 'cli', 'completion.js')));
  t.notRegex(stdout, /node_modules.(sharp|onnxruntime-node|@huggingface|@bomb\.sh)|dist.(native|inverter)\.js/);
});

/** A folder with a `fkinv` for the PATH, and two images. */
function workplace(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-shell-'));
  symlinkSync(cli, path.join(folder, 'fkinv'));
  for (const name of ['one.png', 'other picture.png']) writeFileSync(path.join(folder, name), '');
  return folder;
}

/** Declares a test that such a shell runs. */
const inA = (shell: string) => needs(spawnSync(shell, ['-c', 'exit 0']).status === 0, shell);

function inShell(shell: string, script: string): string {
  const cwd = workplace();
  const env = { ...process.env, HOME: cwd, PATH: `${cwd}${path.delimiter}${process.env['PATH']}` };
  const { stdout, stderr } = spawnSync(shell, ['-c', script], { cwd, env, encoding: 'utf8' });
  rmSync(cwd, { recursive: true });
  return stdout + stderr;
}

inA('bash')('bash: the script can be read twice, and completes', (t) => {
  const completed: [words: string[], reply: string][] = [
    [['inv'], 'invert|'],
    [['invert', '--order', ''], 'random|confidence|entropy|margin|'],
    [['invert', '--order', '=', 'm'], 'margin|'],
    [['invert', '--order', '='], 'random|confidence|entropy|margin|'],
    [['invert', 'o'], '|'], // files are left to the shell
  ];
  const script = completed.map(
    ([words]) => `
      COMP_WORDS=(fkinv ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
      _fkinv_complete; printf '%s|' "\${COMPREPLY[@]}"; echo`,
  );
  const twice = 'eval "$(fkinv complete bash)"; eval "$(fkinv complete bash)"; complete -p fkinv';
  t.deepEqual(
    inShell('bash', [twice, ...script].join('\n'))
      .trimEnd()
      .split('\n'),
    ['complete -o default -F _fkinv_complete fkinv', ...completed.map(([, reply]) => reply)],
  );
});

inA('fish')('fish: completes', (t) => {
  const lines = ['fkinv inv', 'fkinv invert --order ', 'fkinv invert o'];
  const script = lines.map((line) => `complete -C '${line}'; echo`);
  const [commands, orders, files] = inShell('fish', ['fkinv complete fish | source', ...script].join('\n')).split(
    '\n\n',
  );
  t.regex(commands ?? '', /^invert\tRecover/);
  t.is(orders, 'confidence\nentropy\nmargin\nrandom');
  t.is(files, 'one.png\nother picture.png');
});

inA('zsh')('zsh: the script is sound', (t) => {
  t.is(
    inShell('zsh', 'autoload -U compinit; compinit -u; eval "$(fkinv complete zsh)"; print $_comps[fkinv]'),
    '_fkinv\n',
  );
});

test('PowerShell has a script too, and an unknown shell is told which have', async (t) => {
  t.regex((await fkinv('complete', 'powershell')).stdout, /Register-ArgumentCompleter -CommandName 'fkinv'/);
  const { code, stderr } = await fkinv('complete', 'tcsh');
  t.is(code, 2);
  t.regex(stderr, /Allowed choices are bash, zsh, fish, powershell/);
});
