// The recipes of docs/recipes.md that need packages we do not have: in a project of their own, with this package installed from
// its tarball. The addon is this checkout's, put where the install script puts it.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { asShown, blocksUnder, root, writeFiles } from '../helpers/documents';
import { freePort } from '../helpers/free-port';

const run = promisify(execFile);
const document = 'docs/recipes.md';
const next = blocksUnder(document, 'A Next.js route');
const bundler = blocksUnder(document, 'A bundler');
const packages = ['next@16', 'react@19', 'react-dom@19', 'typescript@7', '@types/node@20', '@types/react@19']; // what create-next-app installs
const bundlers = ['webpack@5', 'webpack-cli@7', 'rollup@4'];

const folder = mkdtempSync(path.join(tmpdir(), 'fkinv-recipes-'));
const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', ONNXRUNTIME_NODE_INSTALL: 'skip', PORT: '' };

/** Runs `file` with this Node in the project. */
const node = (file: string, ...args: string[]) => run(process.execPath, [file, ...args], { cwd: folder, env });
const nextBuild = () => node('node_modules/next/dist/bin/next', 'build');

test.before(async () => {
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: root });
  const tarball = path.join(folder, stdout.trim().split('\n').at(-1) ?? '');
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
  const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball, ...packages, ...bundlers];
  await run('npm', install, { cwd: folder, env });
  const release = path.join('build', 'Release');
  cpSync(path.join(root, release), path.join(folder, 'node_modules', 'fkinv-native', release), { recursive: true });
  cpSync(path.join(root, 'examples'), path.join(folder, 'examples'), { recursive: true });
  writeFiles([...next, ...bundler], folder);
  env.PORT = String(await freePort());
  const client = path.join(folder, 'client.mjs');
  writeFileSync(client, readFileSync(client, 'utf8').replace(':3000', `:${env.PORT}`));
});
test.after.always(() => rmSync(folder, { recursive: true }));

/** A server that has said it is ready, and all that it prints. */
async function serve(
  t: ExecutionContext,
  file: string,
  args: string[],
  cwd = folder,
): Promise<{ log: () => string; end: () => Promise<void> }> {
  const server: ChildProcess = spawn(process.execPath, [file, ...args], {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => server.kill('SIGKILL'));
  let log = '';
  const ended = once(server, 'exit');
  const ready = new Promise<void>((resolve) => {
    for (const stream of [server.stdout, server.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (log.includes('Ready')) resolve();
      });
    }
  });
  const end = async (): Promise<void> => {
    server.kill('SIGTERM');
    await ended;
  };
  await Promise.race([ready, ended.then(() => Promise.reject(new Error(log)))]);
  return { log: () => log, end };
}

async function answers(t: ExecutionContext): Promise<void> {
  const client = next.find(({ output }) => output !== undefined);
  const shown = client?.output ?? '';
  t.is(asShown((await node('client.mjs')).stdout, shown), shown);
}

test.serial('Next.js: next build, next start, an image gives its prompt, nonsense its code', async (t) => {
  await nextBuild();
  const server = await serve(t, 'node_modules/next/dist/bin/next', ['start']);
  await answers(t);
  const response = await fetch(`http://localhost:${env.PORT}/api/invert`, { method: 'POST', body: 'nonsense' });
  t.deepEqual([response.status, await response.json()], [422, { code: 'IMAGE_INVALID' }]);
  await server.end();
});

test.serial('Next.js: a change in development does not load the models again', async (t) => {
  const witness = `import { Inverter } from 'fkinv-native';
    const { load } = Inverter;
    Inverter.load = (...given) => {
      console.log('models are loaded');
      return load.apply(Inverter, given);
    };`;
  writeFileSync(path.join(folder, 'witness.mjs'), witness);
  const imported = pathToFileURL(path.join(folder, 'witness.mjs')).href;
  const server = await serve(t, '--import', [imported, 'node_modules/next/dist/bin/next', 'dev']);
  await answers(t);
  appendFileSync(path.join(folder, 'lib', 'inverter.ts'), "\nconsole.log('the module ran again');\n");
  while (!server.log().includes('the module ran again')) await answers(t);
  t.is(server.log().split('models are loaded').length - 1, 1);
  await server.end();
});

test.serial('Next.js: the standalone output has all it needs', async (t) => {
  const config = path.join(folder, 'next.config.ts');
  const plain = readFileSync(config);
  renameSync(path.join(folder, 'next.config.standalone.ts'), config);
  await nextBuild();
  writeFileSync(config, plain);
  const alone = mkdtempSync(path.join(tmpdir(), 'fkinv-standalone-'));
  t.teardown(() => rmSync(alone, { recursive: true }));
  cpSync(path.join(folder, '.next', 'standalone'), alone, { recursive: true });
  const server = await serve(t, 'server.js', [], alone);
  await answers(t);
  await server.end();
});

test.serial('Next.js: without serverExternalPackages the build stops as the recipe says', async (t) => {
  writeFileSync(path.join(folder, 'next.config.ts'), 'export default {};');
  const { message } = await t.throwsAsync(nextBuild());
  t.true(message.includes('ADDON_NOT_FOUND'));
});

test.serial('Rollup and webpack leave the package to Node', async (t) => {
  const rollup = bundler.find(({ code }) => code.includes('npx rollup'));
  await run('sh', ['-c', rollup?.code ?? 'false'], { cwd: folder });
  await node('node_modules/webpack/bin/webpack.js');
  const prompt = bundler.find(({ output }) => output !== undefined)?.output ?? '';
  for (const bundle of ['bundle.mjs', 'dist/main.js']) t.is((await node(bundle)).stdout, prompt);
});
