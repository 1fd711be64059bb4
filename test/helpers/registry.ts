// A package registry that has one package of a tarball, and sends for every other to the one that npm is set to.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';

/** What is read here of a package.json. */
export interface Manifest {
  name: string;
  version: string;
  scripts?: Record<string, string>;
}

/** The registry's address. `manifest` is the package.json of the package in the tarball. */
export async function serveTarball(t: ExecutionContext, tarball: string, manifest: Manifest): Promise<string> {
  const { stdout } = await promisify(execFile)('npm', ['config', 'get', 'registry']);
  const upstream = stdout.trim().replace(/\/$/, '');
  const bytes = readFileSync(tarball);
  const { name, version } = manifest;
  const at = `/${name}/-/${name}-${version}.tgz`;
  const server = createServer((request, response) => {
    if (request.url === at) return response.end(bytes);
    if (request.url !== `/${name}`)
      return response.writeHead(302, { location: `${upstream}${request.url ?? ''}` }).end();
    const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
    const dist = { tarball: address + at, integrity };
    const hasInstallScript = manifest.scripts?.['install'] !== undefined;
    const versions = { [version]: { ...manifest, hasInstallScript, dist } };
    response.setHeader('content-type', 'application/json');
    const time = { [version]: '2020-01-01T00:00:00.000Z' }; // pnpm leaves out what came in the last days
    return response.end(JSON.stringify({ name, 'dist-tags': { latest: version }, versions, time }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return address;
}
