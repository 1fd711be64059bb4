// Every block of code in the documents is run, and prints what stands under it. The README's two commands at its top are run
// whole by .ci/run; here `npm install &&` is left out and `npx fkinv` is this checkout's command.
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { Inverter } from 'fkinv-native';
import { errorCodes } from '../lib/errors';
import { invertAllSchema } from '../lib/options';
import {
  asShown,
  type Block,
  blocksOf,
  documents,
  fileNameOf,
  makeWorkspace,
  read,
  root,
  writeFiles,
} from './helpers/documents';
import { fkinvEach } from './helpers/fkinv';

const run = promisify(execFile);
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

const withoutSeconds = (text: string): string => text.replaceAll(/\d+\.\d+ (s|images\/s)\b/g, '# $1');

/** What `block` prints, on stdout and then on stderr. */
async function outputOf({ language, code }: Block, name: string, workspace: string): Promise<string> {
  const node = `"${process.execPath}"`;
  let command = code
    .replaceAll('npm install && ', '')
    .replaceAll('npx fkinv', `${node} "${path.join(root, 'dist', 'cli.js')}"`);
  if (language !== 'sh') {
    const file = path.join(workspace, `${name}.${language === 'js' ? 'cjs' : language}`);
    writeFileSync(file, code);
    command = `${node} "${file}"`;
  }
  const { stdout, stderr } = await run('sh', ['-c', command], { cwd: workspace }).catch(
    (error: unknown) => error as { stdout: string; stderr: string },
  );
  return stdout + stderr;
}

/** The lines of a block, without comments behind them. */
const linesOf = ({ code }: Block): string[] =>
  code
    .split('\n')
    .map((line) => line.replace(/ +# .*$/, '').trim())
    .filter((line) => line !== '');

/** The npm scripts that a block of nothing but `npm test`, `npm run …` and comments calls. */
function scriptsOf(block: Block): string[] | undefined {
  const commands = linesOf(block).flatMap((line) => line.split(' && '));
  const calls = commands.map((command) => /^npm (?:run )?([\w:]+)$/.exec(command)?.[1]);
  return block.language === 'sh' && calls.every((name) => name !== undefined) ? calls : undefined;
}

/** Nothing runs the block itself: another file must, or other blocks. */
function checkUnrun(t: ExecutionContext, document: string, block: Block, later: Block[]): void {
  const calls = scriptsOf(block);
  const name = fileNameOf(block);
  if (block.language === 'json') {
    t.notThrows(() => JSON.parse(block.code) as unknown);
  } else if (block.runBy !== undefined) {
    const runner = read(block.runBy);
    const isThere = runner.includes(document) || linesOf(block).every((line) => runner.includes(line));
    t.true(isThere, `${block.runBy} runs it`);
  } else if (calls !== undefined) {
    for (const call of calls) t.true(call === 'install' || call in scripts, `npm run ${call}`);
  } else {
    t.truthy(name, 'a block that nothing runs');
    t.true(
      later.some(({ code, output }) => output !== undefined && code.includes(path.basename(name ?? ''))),
      `a later block uses ${name ?? ''}`,
    );
  }
}

for (const document of documents) {
  const blocks = blocksOf(document);
  const id = document.replace(/\W/g, '-');
  const workspace = makeWorkspace(id);
  writeFiles(blocks, workspace);
  for (const [i, block] of blocks.entries()) {
    test.serial(`${document}:${block.line} ${block.code.trim().split('\n').at(0)?.slice(0, 60)}`, async (t) => {
      if (block.output === undefined || block.runBy !== undefined) {
        checkUnrun(t, document, block, blocks.slice(i + 1));
      } else {
        const shown = withoutSeconds(block.output);
        t.is(asShown(withoutSeconds(await outputOf(block, `block-${i}`, workspace)), shown), shown);
      }
    });
  }
}

test('every npm script that the documents name exists', (t) => {
  for (const document of documents) {
    for (const [, name = ''] of read(document).matchAll(/npm run ([\w:-]+)/g))
      t.true(name in scripts, `${document}: ${name}`);
  }
});

test('every fence is a block’s, and no text stands under nothing that prints it', (t) => {
  for (const document of documents) {
    const blocks = blocksOf(document);
    const outputs = blocks.filter(({ output }) => output !== undefined);
    t.is(read(document).match(/^\s*(```|~~~)/gm)?.length ?? 0, 2 * (blocks.length + outputs.length), document);
    t.deepEqual(
      blocks.filter(({ language }) => language === 'text' || language === ''),
      [],
      document,
    );
  }
});

/** The anchor of a heading, as Markdown's readers make it. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');

function anchorsOf(document: string): Set<string> {
  const prose = read(document).replaceAll(/^```[^]*?^```$/gm, '');
  const headings = [...prose.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchorOf(heading));
  return new Set([...headings, ...[...prose.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id)]);
}

test('every link in the documents leads to a file and a heading of this checkout', (t) => {
  for (const document of documents) {
    const prose = read(document).replaceAll(/^```[^]*?^```$/gm, '');
    for (const [, target = ''] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const to = file === '' ? document : path.posix.join(path.posix.dirname(document), file);
      t.true(existsSync(path.join(root, to)), `${document}: ${target}`);
      if (anchor !== undefined) t.true(anchorsOf(to).has(anchor), `${document}: ${target}`);
    }
  }
});

test('the README lists every document', (t) => {
  const readme = read('README.md');
  for (const document of [...documents, 'docs/api/README.md']) {
    if (document !== 'README.md') t.true(readme.includes(`](${document})`), document);
  }
});

test('the README fits 8 KB: what is longer has a page of its own in docs/', (t) => {
  t.true(Buffer.byteLength(read('README.md')) <= 8192);
});

test('docs/options.md’s table of options gives the defaults and ranges that hold', (t) => {
  const rows = new Map(
    [...read('docs/options.md').matchAll(/^\| `(\w+)` +\| ([^|]+?) +\| ([^|]+?) +\|/gm)].map(([, name, ...rest]) => [
      name,
      rest,
    ]),
  );
  for (const [name, schema] of Object.entries(invertAllSchema.shape)) {
    const [shown = '', range = ''] = rows.get(name) ?? [];
    const byDefault =
      name === 'minLength' ? 4 : (schema.safeParse(undefined).data as string | number | string[] | undefined);
    t.is(shown.replaceAll(/[`']/g, ''), String(byDefault ?? '') || '–', name);
    const [, low, high] = /(?:^| )(\d[\d.]*) to (\d+)$/.exec(range) ?? [];
    if (low === undefined) continue;
    for (const inside of [Number(low), Number(high)]) t.true(schema.safeParse(inside).success, `${name} ${inside}`);
    for (const outside of [Number(low) - 1, Number(high) + 1]) t.false(schema.safeParse(outside).success);
  }
});

test('docs/cli.md’s table has every command, and docs/batch.md’s flags are those of fkinv batch', async (t) => {
  const [all, batch] = await fkinvEach([['--help'], ['batch', '--help']]);
  const commands = [...(all?.stdout ?? '').matchAll(/^ {2}([a-z]+) [[<]/gm)].map(([, name = '']) => name);
  t.true(commands.length > 5);
  for (const name of commands) if (name !== 'help') t.true(read('docs/cli.md').includes(`| \`fkinv ${name}\` `), name);
  const flags = [...read('docs/batch.md').matchAll(/^\| `(--[\w-]+)/gm)].map(([, flag = '']) => flag);
  t.true(flags.length > 5);
  for (const flag of flags) t.true(batch?.stdout.includes(flag), flag);
});

test('docs/result.md’s table has every field', async (t) => {
  await using inverter = await Inverter.load({ threads: 1 });
  const image = path.join(root, 'examples', 'bells.png');
  const result = await inverter.invert(image, { particles: 1, steps: 1 });
  const page = read('docs/result.md');
  for (const part of [result, result.coupling, result.particles[0], result.trace[0], result.timings]) {
    for (const field of Object.keys(part ?? {})) t.true(page.includes(`\`${field}\``), field);
  }
});

test('docs/bells.svg is what scripts/picture.mjs draws', async (t) => {
  const file = path.join(makeWorkspace('picture'), 'bells.svg');
  await run(process.execPath, [path.join(root, 'scripts', 'picture.mjs'), file]);
  const shown = read('docs/bells.svg');
  t.is(asShown(readFileSync(file, 'utf8'), shown), shown);
});

test('docs/errors.md has every code with its remedy', (t) => {
  const rows = [...read('docs/errors.md').matchAll(/^\| `([A-Z_]+)` +\| .+? +\| (.+?) +\|$/gm)];
  t.deepEqual(Object.fromEntries(rows.map(([, code, remedy]) => [code, remedy])), { ...errorCodes });
});
