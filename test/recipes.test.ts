// The recipes of docs/recipes.md that take more than one process, from the text of the document.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { asShown, blocksUnder, makeWorkspace, root, writeFiles } from './helpers/documents';
import { freePort } from './helpers/free-port';

const document = 'docs/recipes.md';
const run = promisify(execFile);

/** Writes the files under `heading` into a workspace of their own. */
function prepare(heading: string): { folder: string; output: string } {
  const folder = makeWorkspace(`recipe-${heading.replaceAll(/\W+/g, '-')}`);
  const blocks = blocksUnder(document, heading);
  writeFiles(blocks, folder);
  return { folder, output: blocks.at(-1)?.output ?? '' };
}

test('TypeScript: it compiles under node16 and bundler, and runs', async (t) => {
  const { folder } = prepare('TypeScript');
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const flags = [
    '--strict',
    '--target',
    'es2022',
    '--lib',
    'es2022,esnext.disposable',
    '--types',
    'node',
    'invert.mts',
  ];
  const bundler = ['--noEmit', '--module', 'esnext', '--moduleResolution', 'bundler'];
  const node16 = ['--module', 'node16', '--moduleResolution', 'node16'];
  for (const resolution of [bundler, node16]) {
    await t.notThrowsAsync(run(process.execPath, [tsc, ...flags, ...resolution], { cwd: folder }));
  }
  const use = `import { promptOf } from './invert.mjs';
    console.log(await promptOf('examples/missing.png'));
    console.log(await promptOf('examples/bells.png'));`;
  await writeFile(path.join(folder, 'use.mjs'), use);
  const { stdout } = await run(process.execPath, ['use.mjs'], { cwd: folder });
  t.regex(stdout, /^no such image\n.*bells.*\n$/);
});

/** Resolves once `child` has printed `text`. */
function printed(child: ChildProcess, text: string): Promise<void> {
  let all = '';
  return new Promise((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      all += chunk.toString();
      if (all.includes(text)) resolve();
    };
    child.stdout?.on('data', read);
    child.once('exit', () => reject(new Error(`the server ended: ${all}`)));
  });
}

// Tells when an inversion begins, and what it fails with.
const witness = `
  import { Inverter } from 'fkinv-native';
  const { invert } = Inverter.prototype;
  Inverter.prototype.invert = async function (...given) {
    console.log('begun');
    return invert.apply(this, given).catch((error) => {
      console.log('failed ' + error.code);
      throw error;
    });
  };`;

test('Express: it answers, maps errors, turns away what is too much, aborts for who went away, and ends on SIGTERM', async (t) => {
  const { folder, output } = prepare('An Express server');
  const port = await freePort();
  await writeFile(path.join(folder, 'witness.mjs'), witness);
  const flags = ['--import', pathToFileURL(path.join(folder, 'witness.mjs')).href, 'server.mjs'];
  const env = { ...process.env, PORT: String(port) };
  const server = spawn(process.execPath, flags, { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(server, 'exit');
  t.teardown(() => server.kill('SIGKILL'));
  await printed(server, 'ready');

  const client = (await readFile(path.join(folder, 'client.mjs'), 'utf8')).replace(':3000', `:${port}`);
  await writeFile(path.join(folder, 'client.mjs'), client);
  const { stdout } = await run(process.execPath, ['client.mjs'], { cwd: folder });
  t.is(asShown(stdout, output), output);

  const bells = await readFile(path.join(root, 'examples', 'bells.png'));
  const post = (body: Uint8Array<ArrayBuffer>, type = 'image/png'): Promise<Response> =>
    fetch(`http://localhost:${port}/invert`, { method: 'POST', headers: { 'Content-Type': type }, body });
  const broken = await post(bells.subarray(0, 100));
  t.deepEqual([broken.status, await broken.json()], [422, { code: 'IMAGE_INVALID' }]);
  t.is((await post(bells, 'text/plain')).status, 415);
  t.is((await post(new Uint8Array(11 * 2 ** 20))).status, 413);

  const answers = await Promise.all(Array.from({ length: 60 }, () => post(bells)));
  const statuses = answers.map(({ status }) => status);
  t.true(statuses.filter((status) => status === 200).length >= 8);
  const refused = answers.filter(({ status }) => status !== 200);
  t.true(refused.length > 0);
  for (const answer of refused) {
    t.is(answer.status, 503);
    t.is(answer.headers.get('Retry-After'), '1');
    t.deepEqual(await answer.json(), { code: 'QUEUE_FULL' });
  }

  const begun = printed(server, 'begun');
  const aborted = printed(server, 'failed ABORTED');
  const socket = connect(port, 'localhost');
  socket.write(
    `POST /invert HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: ${bells.length}\r\n\r\n`,
  );
  socket.write(bells);
  await begun;
  socket.destroy();
  await aborted;

  server.kill('SIGTERM');
  t.deepEqual(await ended, [0, null]);
});

test('A bundler: without the hint the build fails as the recipe says', async (t) => {
  const { folder } = prepare('A bundler');
  const esbuild = path.join(root, 'node_modules', 'esbuild', 'bin', 'esbuild');
  const flags = ['app.mjs', '--bundle', '--platform=node', '--format=esm', '--outfile=bundle.mjs'];
  const error = await t.throwsAsync(run(process.execPath, [esbuild, ...flags], { cwd: folder }));
  t.true(error.message.includes('No loader is configured for ".node" files'));
});
