// Files are replaced whole, where links lead, with their mode and owner; what is of somebody else is left alone.
import { execFile, spawnSync } from 'node:child_process';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { holdFile, OutputFile, replaceFile, type FileKind } from '../../lib/files/write-file';
import { root } from '../helpers/child';
import { needs } from '../helpers/needs';

const kind: FileKind = {
  name: 'file of the test',
  remedy: 'give another',
  isOwn: (beginning) => beginning.startsWith('own'),
  goesToStreams: true,
};

async function folder(t: ExecutionContext): Promise<string> {
  const at = await mkdtemp(path.join(tmpdir(), 'fkinv-files-'));
  t.teardown(() => rm(at, { recursive: true, force: true }));
  return at;
}

test('an empty place and an own file are replaced, and nothing is left beside them', async (t) => {
  const at = await folder(t);
  const file = path.join(at, `${'x'.repeat(251)}.csv`); // the longest name there is
  await replaceFile(file, kind, 'own 1');
  t.is(await readFile(file, 'utf8'), 'own 1');
  await replaceFile(file, kind, ['own ', 'ö', ' 2']);
  t.is(await readFile(file, 'utf8'), 'own ö 2');
  await writeFile(file, '');
  const output = await OutputFile.begin(file, kind, 'own 3');
  await output.append(', and more');
  await output.append(', to its end');
  await output.close();
  t.is(await readFile(file, 'utf8'), 'own 3, and more, to its end');
  t.deepEqual(await readdir(at), [path.basename(file)]);
});

test('what is of somebody else is left alone: a file, a folder, what is beside it', async (t) => {
  const at = await folder(t);
  const file = path.join(at, 'x.csv');
  await writeFile(file, 'of mine');
  await writeFile(`${file}.part`, 'of mine too');
  const refused = { code: 'INVALID_OPTION', message: `${file} is no file of the test: give another` };
  await t.throwsAsync(replaceFile(file, kind, 'own'), refused);
  await t.throwsAsync(OutputFile.begin(file, kind, 'own'), refused);
  t.is(await readFile(file, 'utf8'), 'of mine');
  await rm(file);
  await replaceFile(file, kind, 'own');
  t.is(await readFile(`${file}.part`, 'utf8'), 'of mine too');
  await mkdir(path.join(at, 'inner'));
  await t.throwsAsync(replaceFile(path.join(at, 'inner'), kind, 'own'), { code: 'INVALID_OPTION', message: /folder/ });
  await t.throwsAsync(replaceFile(path.join(at, 'no', 'such'), kind, 'own'), {
    code: 'OUTPUT_FAILED',
    message: /ENOENT/,
  });
  t.deepEqual((await readdir(at)).sort(), ['inner', 'x.csv', 'x.csv.part']);
});

test('what cannot be written whole leaves the file as it is', async (t) => {
  const at = await folder(t);
  const file = path.join(at, 'x.csv');
  await replaceFile(file, kind, 'own');
  function* broken(): Generator<string> {
    yield 'own, new';
    throw new Error('no more');
  }
  await t.throwsAsync(replaceFile(file, kind, broken()), { code: 'OUTPUT_FAILED', message: /x\.csv: no more$/ });
  t.is(await readFile(file, 'utf8'), 'own');
  t.deepEqual(await readdir(at), ['x.csv']);
});

test('a link goes on leading to its file, which is replaced where it is', async (t) => {
  const at = await folder(t);
  await mkdir(path.join(at, 'inner'));
  const target = path.join(at, 'inner', 'x.csv');
  await symlink(path.join('inner', 'y'), path.join(at, 'link'));
  await symlink('x.csv', path.join(at, 'inner', 'y'));
  for (const text of ['own, where the links led to nothing', 'own, again']) {
    await replaceFile(path.join(at, 'link'), kind, text);
    t.is(await readFile(target, 'utf8'), text);
    t.is(await readlink(path.join(at, 'link')), path.join('inner', 'y'));
  }
  t.deepEqual((await readdir(path.join(at, 'inner'))).sort(), ['x.csv', 'y']);
  await writeFile(target, 'of mine');
  await t.throwsAsync(replaceFile(path.join(at, 'link'), kind, 'own'), { code: 'INVALID_OPTION' });
  await symlink('round', path.join(at, 'round'));
  await t.throwsAsync(replaceFile(path.join(at, 'round'), kind, 'own'), { code: 'OUTPUT_FAILED', message: /links/ });
});

test('a file that this process is writing is not replaced, by whatever name', async (t) => {
  const at = await folder(t);
  const file = path.join(at, 'r.jsonl');
  const handle = await open(file, 'w');
  await symlink('r.jsonl', path.join(at, 'link'));
  await link(file, path.join(at, 'hard'));
  const release = await holdFile(handle, file);
  for (const name of ['r.jsonl', 'link', 'hard']) {
    const message = `${path.join(at, name)} is the file of ${file}, which is being written: give another`;
    await t.throwsAsync(replaceFile(path.join(at, name), kind, 'own'), { code: 'INVALID_OPTION', message });
  }
  release();
  await handle.close();
  await replaceFile(file, kind, 'own');
  t.is(await readFile(file, 'utf8'), 'own');
});

const isPosix = process.platform !== 'win32';

needs(isPosix, 'modes')('the mode stays; a new file has that of any other', async (t) => {
  const file = path.join(await folder(t), 'x.csv');
  await replaceFile(file, kind, 'own');
  await writeFile(`${file}.2`, '');
  t.is((await stat(file)).mode, (await stat(`${file}.2`)).mode);
  for (const mode of [0o600, 0o664]) {
    await chmod(file, mode);
    await replaceFile(file, kind, 'own, again');
    t.is((await stat(file)).mode & 0o777, mode);
  }
});

const isRoot = process.getuid?.() === 0;

needs(isRoot, 'the rights of root')('the owner stays, where a link leads too', async (t) => {
  const at = await folder(t);
  const file = path.join(at, 'x.csv');
  await replaceFile(file, kind, 'own');
  await chown(file, 1234, 2345);
  await chmod(file, 0o640);
  await symlink('x.csv', path.join(at, 'link'));
  await replaceFile(path.join(at, 'link'), kind, 'own, again');
  const { uid, gid, mode } = await stat(file);
  t.deepEqual({ uid, gid, mode: mode & 0o777 }, { uid: 1234, gid: 2345, mode: 0o640 });
});

/** What comes of replacing `file` as another user: an error's code and message, or nothing. */
async function asNobody(file: string): Promise<string> {
  const script = `
    const { replaceFile } = require(${JSON.stringify(path.join(root, 'dist', 'files', 'write-file.js'))});
    process.setgroups([]); process.setgid(65534); process.setuid(65534);
    const kind = { name: 'file', remedy: 'give another', isOwn: () => true, goesToStreams: true };
    replaceFile(${JSON.stringify(file)}, kind, 'new').catch(({ code, message }) => console.log(code, message));`;
  return (await promisify(execFile)(process.execPath, ['-e', script])).stdout;
}

needs(isRoot, 'the rights of root')(
  'another user: no file whose owner would change, or that may not be written',
  async (t) => {
    const at = await folder(t);
    await chmod(at, 0o777);
    const file = path.join(at, 'x.csv');
    await writeFile(file, 'old');
    await chmod(file, 0o666);
    t.regex(
      await asNobody(file),
      /^OUTPUT_FAILED .*cannot be given to its owner: run as that user, or remove it first\n$/,
    );
    await chown(file, 65534, 65534);
    await chmod(file, 0o444);
    t.regex(await asNobody(file), /^OUTPUT_FAILED .*EACCES/);
    t.is(await readFile(file, 'utf8'), 'old');
    await chmod(file, 0o600);
    t.is(await asNobody(file), '');
    t.is(await readFile(file, 'utf8'), 'new');
    t.is((await stat(file)).mode & 0o777, 0o600);
    t.deepEqual(await readdir(at), ['x.csv']);
  },
);

needs(isPosix, 'devices and pipes')('a device and a pipe are written to as they are, or refused', async (t) => {
  const at = await folder(t);
  await replaceFile('/dev/null', kind, 'own');
  t.true((await lstat('/dev/null')).isCharacterDevice());
  const pipe = path.join(at, 'pipe');
  t.is(spawnSync('mkfifo', [pipe]).status, 0);
  const reader = readFile(pipe, 'utf8');
  const output = await OutputFile.begin(pipe, kind, 'own');
  await output.append(', and more');
  await output.close();
  t.is(await reader, 'own, and more');
  t.true((await lstat(pipe)).isFIFO());
  for (const file of [pipe, '/dev/null']) {
    const refused = { code: 'INVALID_OPTION', message: `${file} is no regular file: give another` };
    await t.throwsAsync(replaceFile(file, { ...kind, goesToStreams: false }, 'own'), refused);
  }
  t.deepEqual(await readdir(at), ['pipe']);
});

needs(process.platform === 'linux', 'Linux’s /proc')(
  '/dev/stdout is what stdout goes to, which keeps what is there',
  async (t) => {
    const at = await folder(t);
    const module = JSON.stringify(path.join(root, 'dist', 'files', 'write-file.js'));
    const script = `
    const kind = { name: 'file', remedy: 'give another', isOwn: () => false, goesToStreams: true };
    require(${module}).replaceFile('/dev/stdout', kind, 'written').then(() => console.log(', printed'));`;
    await writeFile(path.join(at, 'script.cjs'), script);
    const shell = `printf 'before, ' > out; "${process.execPath}" script.cjs >> out`;
    t.is(spawnSync('sh', ['-c', shell], { cwd: at, encoding: 'utf8' }).stderr, '');
    t.is(await readFile(path.join(at, 'out'), 'utf8'), 'before, written, printed\n');
    const piped = spawnSync('sh', ['-c', `"${process.execPath}" script.cjs | cat`], { cwd: at, encoding: 'utf8' });
    t.is(piped.stdout, 'written, printed\n', 'a pipe');
  },
);
