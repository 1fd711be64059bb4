// Every command and output of the README is run. The two commands at its top are run whole by .ci/run; here `npm install &&`
// is left out and `npx fkinv` is this checkout's command.
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { errorCodes } from '../lib/errors';
import { invertAllSchema } from '../lib/options';

const root = path.join(__dirname, '..');
const readme = readFileSync(path.join(root, 'README.md'), 'utf8');
const workspace = path.join(root, 'build', 'readme'); // inside the package, so that it can require itself by name
const run = promisify(execFile);

/** Code blocks that are followed by the text they print, and the file that runs them where `<!-- run by … -->` names one. */
const examples = [
  ...readme.matchAll(
    /(?:<!-- run by (\S+) -->\n\n)?```(sh|js)\n((?:(?!```)[^])*?)```\n\n```text\n((?:(?!```)[^])*?)```/g,
  ),
].map(([, runBy, language = '', code = '', output = '']) => ({ runBy, language, code, output }));

const withoutSeconds = (text: string): string => text.replaceAll(/\d+\.\d+ s\b/g, '# s');

async function outputOf(language: string, code: string, name: string): Promise<string> {
  const node = `"${process.execPath}"`;
  let command: string;
  if (language === 'sh') {
    command = code
      .replace('npm install && ', '')
      .replace('npx fkinv', `${node} "${path.join(root, 'dist', 'cli.js')}"`);
  } else {
    mkdirSync(workspace, { recursive: true });
    const file = path.join(workspace, `${name}.cjs`);
    writeFileSync(file, code);
    command = `${node} "${file}"`;
  }
  const { stdout, stderr } = await run('sh', ['-c', command], { cwd: root }).catch(
    (error: unknown) => error as { stdout: string; stderr: string },
  );
  return stdout + stderr;
}

test('the README has its examples', (t) => {
  t.true(examples.length >= 6);
  t.is(readme.match(/```text/g)?.length, examples.length, 'every output stands under the code that prints it');
});

for (const [i, { runBy, language, code, output }] of examples.entries()) {
  if (runBy !== undefined) {
    test(`${runBy} runs example ${i}`, (t) =>
      t.true(readFileSync(path.join(root, runBy), 'utf8').includes(code.trim())));
    continue;
  }
  test(`README example ${i}: ${code.trim().split('\n').at(0)}`, async (t) => {
    t.is(withoutSeconds(await outputOf(language, code, `example-${i}`)), withoutSeconds(output));
  });
}

test('the README’s table of options gives the defaults and ranges that hold', (t) => {
  const rows = new Map(
    [...readme.matchAll(/^\| `(\w+)` +\| ([^|]+?) +\| ([^|]+?) +\|/gm)].map(([, name, ...rest]) => [name, rest]),
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

test('the README’s table of errors is the code’s', (t) => {
  const rows = [...readme.matchAll(/^\| `([A-Z_]+)` +\| (.+?) +\|$/gm)].map(([, code, remedy]) => [code, remedy]);
  t.deepEqual(Object.fromEntries(rows), { ...errorCodes });
});
