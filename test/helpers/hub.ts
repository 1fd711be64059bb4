// A server that speaks the protocol of the Hugging Face Hub, as far as models are read: https://huggingface.co/docs/hub/api and what
// its Python library expects of it. Large files are at another address, to which their links lead for a while.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';

/** A repository: a folder, or contents by name, with what its page says. */
export interface Repository {
  folder?: string;
  files?: Record<string, string | Uint8Array>;
  licence?: string;
  /** Whether only those may read it who agreed to terms. */
  isGated?: boolean;
  /** Whether only this token sees it. */
  token?: string;
}

/** A request that came. */
export interface Request {
  /** The Hub itself, or where it keeps large files. */
  at: 'hub' | 'files';
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** What goes wrong with an answer. */
export interface Fault {
  /** Answered instead, with these headers. */
  status?: number;
  headers?: Record<string, string>;
  /** Answered instead of the content. */
  body?: string | Uint8Array;
  /** Bytes of the content after which the line is cut. */
  cutAfter?: number;
  /** Whether the range that was asked for is not heeded. */
  ignoresRange?: boolean;
  /** Milliseconds between two pieces of 16 kB. */
  slow?: number;
}

interface Served {
  content: Buffer;
  oid: string;
  sha256: string;
  /** Whether it is kept elsewhere, as large files are. */
  isLarge: boolean;
}

/** Entries of a page of the list of files. */
const pageSize = 4;

/** The Hub, with `repositories` by name. `fault` may have a request go wrong. */
export class TestHub {
  readonly requests: Request[] = [];
  fault: (request: Request) => Fault | undefined = () => undefined;
  readonly #repositories = new Map<string, { files: Map<string, Served>; given: Repository; commit: string }>();
  readonly #contents = new Map<string, Buffer>();
  readonly #links = new Set<string>();
  #signatures = 0;
  readonly #hub = createServer((request, response) => void this.#answer('hub', request, response));
  readonly #files = createServer((request, response) => void this.#answer('files', request, response));

  private constructor(repositories: Record<string, Repository>) {
    for (const [name, given] of Object.entries(repositories)) this.add(name, given);
  }

  static async open(repositories: Record<string, Repository>): Promise<TestHub> {
    const hub = new TestHub(repositories);
    for (const server of [hub.#hub, hub.#files]) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    return hub;
  }

  /** Puts a repository there, in the place of one of that name. */
  add(name: string, given: Repository): void {
    const files = new Map<string, Served>();
    const contents = { ...(given.folder === undefined ? {} : contentsOf(given.folder)), ...given.files };
    for (const [file, text] of Object.entries(contents).sort()) {
      const content = Buffer.from(text);
      const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
      const sha256 = createHash('sha256').update(content).digest('hex');
      const isLarge = !/\.(json|md|txt|jinja)$|LICENSE$/.test(file);
      files.set(file, { content, oid, sha256, isLarge });
      this.#contents.set(sha256, content);
    }
    const commit = createHash('sha1').update(JSON.stringify([name, [...files].map(([file, { oid }]) => [file, oid])]));
    this.#repositories.set(name, { files, given, commit: commit.digest('hex') });
  }

  get endpoint(): string {
    return addressOf(this.#hub);
  }

  commitOf(name: string): string {
    return this.#repositories.get(name)?.commit ?? '';
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#files]) {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    }
  }

  async #answer(at: 'hub' | 'files', asked: IncomingMessage, response: ServerResponse): Promise<void> {
    const { range, authorization } = asked.headers;
    const request: Request = { at, path: asked.url ?? '', range, authorization };
    this.requests.push(request);
    const fault = this.fault(request) ?? {};
    if (fault.status !== undefined || fault.body !== undefined) {
      response.writeHead(fault.status ?? 200, {
        'content-length': Buffer.byteLength(fault.body ?? ''),
        ...fault.headers,
      });
      response.end(fault.body);
    } else if (at === 'hub') await this.#answerAsHub(request, fault, response);
    else await this.#answerWithFile(request, fault, response);
  }

  async #answerAsHub(request: Request, fault: Fault, response: ServerResponse): Promise<void> {
    const url = new URL(request.path, this.endpoint);
    const [, name = '', kind = '', revision = '', file = ''] =
      /^\/(?:api\/models\/)?([^/]+\/[^/]+)\/(revision|tree|resolve)\/([^/]+)(?:\/(.+))?$/.exec(url.pathname) ?? [];
    const repository = this.#repositories.get(name);
    const refuse = (status: number, code: string): void => {
      response.writeHead(status, { 'x-error-code': code, 'x-error-message': code }).end();
    };
    const { token } = repository?.given ?? {};
    if (repository === undefined || (token !== undefined && request.authorization !== `Bearer ${token}`)) {
      response.writeHead(401, { 'x-error-message': 'Invalid username or password.' }).end(); // as the Hub has it, for who is not logged in
      return;
    }
    const { files, commit, given } = repository;
    if (![commit, 'main', 'v1'].includes(decodeURIComponent(revision))) {
      refuse(404, 'RevisionNotFound');
      return;
    }
    if (kind === 'revision') {
      const tags = ['onnx', ...(given.licence === undefined ? [] : [`license:${given.licence}`])];
      const told = {
        _id: '1',
        id: name,
        sha: commit,
        tags,
        private: false,
        gated: given.isGated === true ? 'auto' : false,
      };
      json(response, { ...told, downloads: 1, likes: 1, lastModified: '2025-01-01T00:00:00.000Z' });
    } else if (kind === 'tree') {
      this.#list(url, files, response);
    } else if (given.isGated === true) {
      refuse(request.authorization === undefined ? 401 : 403, 'GatedRepo');
    } else {
      const found = files.get(decodeURIComponent(file));
      if (found === undefined) {
        refuse(404, 'EntryNotFound');
        return;
      }
      const { content, oid, sha256, isLarge } = found;
      const headers = { 'x-repo-commit': commit };
      if (!isLarge) return send(request, fault, response, content, { ...headers, etag: `"${oid}"` });
      const link = `/${sha256}?signature=${++this.#signatures}`;
      this.#links.add(link);
      response.writeHead(302, {
        ...headers,
        location: addressOf(this.#files) + link,
        etag: `"${oid}"`,
        'x-linked-etag': `"${sha256}"`,
        'x-linked-size': content.length,
      });
      response.end();
    }
  }

  #list(url: URL, files: Map<string, Served>, response: ServerResponse): void {
    const folders = new Set([...files.keys()].map((name) => path.posix.dirname(name)).filter((name) => name !== '.'));
    const entries = [
      ...[...folders].map((name) => ({ type: 'directory', path: name, oid: '0'.repeat(40), size: 0 })),
      ...[...files].map(([name, { content, oid, sha256, isLarge }]) => ({
        type: 'file',
        path: name,
        oid: isLarge ? createHash('sha1').update(oid).digest('hex') : oid, // that of the pointer
        size: content.length,
        ...(isLarge && { lfs: { oid: sha256, size: content.length, pointerSize: 134 } }),
      })),
    ];
    const start = Number(url.searchParams.get('cursor') ?? 0);
    const next = new URL(url);
    next.searchParams.set('cursor', String(start + pageSize));
    const link = start + pageSize < entries.length ? { link: `<${next.href}>; rel="next"` } : {};
    json(response, entries.slice(start, start + pageSize), link);
  }

  async #answerWithFile(request: Request, fault: Fault, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.path, this.endpoint);
    const content = this.#contents.get(pathname.slice(1));
    // A signed link is of use once, and with a token beside it none at all.
    const isSigned = this.#links.delete(request.path) && request.authorization === undefined;
    if (content === undefined || !isSigned) response.writeHead(403).end();
    else await send(request, fault, response, content, { etag: '"other"' });
  }
}

function contentsOf(folder: string): Record<string, Buffer> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const files = entries.map(({ parentPath, name }) => path.join(parentPath, name));
  return Object.fromEntries(
    files.map((file) => [path.relative(folder, file).replaceAll(path.sep, '/'), readFileSync(file)]),
  );
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function json(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

async function send(
  { range }: Request,
  { cutAfter = Infinity, ignoresRange = false, slow = 0 }: Fault,
  response: ServerResponse,
  content: Buffer,
  headers: Record<string, string>,
): Promise<void> {
  const [, from] = /^bytes=(\d+)-$/.exec(range ?? '') ?? [];
  const start = ignoresRange ? 0 : Number(from ?? 0);
  const isPart = from !== undefined && !ignoresRange;
  response.writeHead(isPart ? 206 : 200, {
    ...headers,
    'accept-ranges': 'bytes',
    'content-length': content.length - start,
    ...(isPart && { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }),
  });
  const end = Math.min(content.length, start + cutAfter);
  for (let at = start; at < end; at += 16_384) {
    response.write(content.subarray(at, Math.min(end, at + 16_384)));
    if (slow > 0) await new Promise((resolve) => setTimeout(resolve, slow));
  }
  if (end < content.length) {
    // What was written is to arrive before the end does.
    await new Promise((resolve) => response.write('', resolve));
    response.destroy();
  } else response.end();
}
