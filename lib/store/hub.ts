import { setTimeout as sleep } from 'node:timers/promises';
import type { EnvHttpProxyAgent, Response } from 'undici';
import { z } from 'zod';
import { FkinvError, messageOf } from '../errors';
import { validate } from '../util/validate';
import { refusalOf, type Asked } from './refusals';
import type { StoreSettings } from './settings';

/** A file of a repository. */
export interface RemoteFile {
  /** In the repository, with slashes. */
  path: string;
  bytes: number;
  /** SHA-256 of a large file; of a small one SHA-1 as git has it, of its content with a head. The cache calls it by that. */
  hash: string;
}

/** What a revision of a repository has. */
export interface Listing {
  repository: string;
  /** Whose files these are, as 40 hexadecimal digits. */
  commit: string;
  /** As its page states it, such as `apache-2.0`. */
  licence: string | undefined;
  files: RemoteFile[];
}

/** What a request failed with that may go well the next time: a line that was cut, a server that failed. */
export class Interrupted extends Error {}

const digest = (digits: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`), `must be ${digits} hexadecimal digits`);
/** No part of it leads elsewhere, or to a device of Windows. */
const isPlain = (name: string): boolean =>
  name.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && !/[\\:]|\p{Cc}/u.test(name);
const infoSchema = z.looseObject({ sha: digest(40), tags: z.array(z.string()).default([]) });
const fileSchema = z.looseObject({
  path: z.string().refine(isPlain, 'must be a file in the repository'),
  size: z.int().min(0),
  oid: digest(40),
  lfs: z.looseObject({ oid: digest(64), size: z.int().min(0) }).optional(),
});

/** No repository of a model has more; who lists more never ends. */
const mostFiles = 100_000;
const mostRedirects = 5;
/** Times that a request for a few facts is made, where it is interrupted. */
const attempts = 4;
/** Seconds that the Hub may have us wait before a request is made again, and how often. */
const longestWait = 600;
const mostWaits = 10;
/** Milliseconds without a word of the server after which a line counts as cut. */
const silence = 60_000;

/** How requests are made. */
export interface HubOptions {
  signal?: AbortSignal | undefined;
  /** Called with one line where the Hub has us wait. */
  warn: (message: string) => void;
  /** Milliseconds before an interrupted request is made again, each time twice as long. */
  pause: number;
}

/** What requests are made with; loaded where it is needed, as that takes as long as the rest of the package together. */
interface Libraries {
  undici: typeof import('undici');
  hub: typeof import('@huggingface/hub');
}

/** The Hugging Face Hub, over plain HTTP: https://huggingface.co/docs/hub/api. The token goes to its own address only. */
export class Hub {
  readonly #agent: EnvHttpProxyAgent;
  readonly #origin: string;

  private constructor(
    readonly settings: StoreSettings,
    readonly options: HubOptions,
    private readonly libraries: Libraries,
  ) {
    this.#agent = new libraries.undici.EnvHttpProxyAgent({ headersTimeout: silence, bodyTimeout: silence });
    this.#origin = new URL(settings.endpoint).origin;
  }

  static async open(settings: StoreSettings, options: HubOptions): Promise<Hub> {
    const [undici, hub] = await Promise.all([import('undici'), import('@huggingface/hub')]);
    return new Hub(settings, options, { undici, hub });
  }

  /** Ends its connections. */
  close(): Promise<void> {
    return this.#agent.destroy();
  }

  /** Lists the files of a revision. Throws `HUB_UNAVAILABLE`, `HUB_REFUSED` or `HUB_INVALID`. */
  async list(repository: string, revision: string): Promise<Listing> {
    const { modelInfo, listFiles } = this.libraries.hub;
    const asked = { repository, revision };
    const hub = { hubUrl: this.settings.endpoint, fetch: this.#fetchFor(asked) };
    const what = `what ${this.settings.endpoint} tells of ${repository}`;
    const told = await modelInfo({ ...hub, name: repository, revision, additionalFields: ['sha', 'tags'] }).catch(
      invalid(what),
    );
    const { sha: commit, tags } = validate(infoSchema, told, what, 'HUB_INVALID');
    const files: RemoteFile[] = [];
    try {
      for await (const entry of listFiles({
        ...hub,
        repo: { type: 'model', name: repository },
        revision: commit,
        recursive: true,
      })) {
        if (entry.type !== 'file') continue;
        const { path, size, oid, lfs } = validate(fileSchema, entry, what, 'HUB_INVALID');
        files.push({ path, bytes: lfs?.size ?? size, hash: lfs?.oid ?? oid });
        if (files.length > mostFiles) throw new FkinvError('HUB_INVALID', `${what}: it has no end`);
      }
    } catch (error) {
      invalid(what)(error);
    }
    const licence = tags.find((tag) => tag.startsWith('license:'))?.slice('license:'.length);
    return { repository, commit, licence, files };
  }

  /**
   * Asks for a file from byte `from` on, resolving its address anew: signed links expire. The answer is 206, or 200 for all of the
   * file. Throws `HUB_REFUSED`, `HUB_INVALID`, and {@link Interrupted}.
   */
  async open({ repository, commit, files }: Listing, file: RemoteFile, from: number): Promise<Response> {
    const address = `${this.settings.endpoint}/${repository}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`;
    const there = files.map(({ path }) => path);
    const asked = { repository, revision: commit, file: file.path, there };
    return this.#get(address, asked, {
      'accept-encoding': 'identity',
      ...(from > 0 && { range: `bytes=${from}-` }),
    });
  }

  /** The error for `cause`, which interrupted every attempt. */
  unavailable(cause: unknown): FkinvError {
    const reason = innermost(cause);
    return new FkinvError(
      'HUB_UNAVAILABLE',
      `${this.settings.endpoint} cannot be reached, or breaks off (${reason}): check the connection, HTTPS_PROXY and HF_ENDPOINT, and ` +
        'pull again, which goes on where it stopped',
      { cause },
    );
  }

  /** Fetch as `@huggingface/hub` takes it, with our own retries, errors and care for the token. */
  #fetchFor(asked: Asked): typeof globalThis.fetch {
    const own = async (address: string, init?: { headers?: Record<string, string> }): Promise<Response> => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.#get(address, asked, init?.headers ?? {});
        } catch (error) {
          if (!(error instanceof Interrupted)) throw error;
          if (attempt === attempts) throw this.unavailable(error);
          await sleep(this.options.pause * 2 ** (attempt - 1), undefined, { signal: this.options.signal });
        }
      }
    };
    return own as unknown as typeof globalThis.fetch;
  }

  /** Gets an address, waiting where the Hub says so. Throws what is not a good answer. */
  async #get(address: string, asked: Asked, headers: Record<string, string>): Promise<Response> {
    for (let waits = 0; ; waits++) {
      const response = await this.#follow(address, headers);
      if (response.ok) return response;
      const { status } = response;
      const seconds = status === 429 || status === 503 ? waitOf(response) : undefined;
      if (status !== 429 && (status >= 500 || status === 408) && seconds === undefined) {
        await response.body?.cancel();
        throw new Interrupted(`it answers ${status}`);
      }
      if (status !== 429 && seconds === undefined) throw await refusalOf(response, asked, this.settings);
      await response.body?.cancel();
      const wait = seconds ?? 10;
      if (wait > longestWait || waits === mostWaits) {
        throw new FkinvError(
          'HUB_UNAVAILABLE',
          `${this.settings.endpoint} takes no more requests from here for ${wait} s (${status}): pull again then, or give a token as HF_TOKEN`,
        );
      }
      this.options.warn(`${this.settings.endpoint} has us wait ${wait} s (${status})`);
      await sleep(wait * 1000, undefined, { signal: this.options.signal });
    }
  }

  /** Gets an address through its redirects; the token is sent to the Hub's own address alone. */
  async #follow(address: string, headers: Record<string, string>): Promise<Response> {
    const { token } = this.settings;
    const { signal } = this.options;
    const { fetch } = this.libraries.undici;
    let url = new URL(address);
    for (let redirects = 0; redirects <= mostRedirects; redirects++) {
      const isOwn = url.origin === this.#origin;
      const sent = {
        ...headers,
        'user-agent': 'fkinv-native',
        ...(isOwn && token !== undefined && { authorization: `Bearer ${token}` }),
      };
      const response = await fetch(url, {
        redirect: 'manual',
        dispatcher: this.#agent,
        headers: sent,
        ...(signal !== undefined && { signal }),
      }).catch((cause: unknown) => {
        signal?.throwIfAborted();
        throw new Interrupted(innermost(cause), { cause });
      });
      const location = response.headers.get('location');
      if (response.status < 300 || response.status > 399 || location === null) return response;
      await response.body?.cancel();
      if (!URL.canParse(location, url.href)) break;
      url = new URL(location, url);
      if (!/^https?:$/.test(url.protocol)) break;
    }
    throw new FkinvError('HUB_INVALID', `${address} leads nowhere: try again, or without the mirror`);
  }
}

/** A handler of rejections: what cannot be read of an answer is the server's fault. */
function invalid(what: string) {
  return (cause: unknown): never => {
    if (cause instanceof FkinvError || (cause instanceof Error && cause.name === 'AbortError')) throw cause;
    throw new FkinvError('HUB_INVALID', `${what} cannot be read (${messageOf(cause)}): check HF_ENDPOINT`, { cause });
  };
}

/** The message at the end of a chain of causes: fetch itself says that it failed, and no more. */
function innermost(thrown: unknown): string {
  let at = thrown;
  while (at instanceof Error && at.cause !== undefined) at = at.cause;
  return messageOf(at);
}

/** Seconds that an answer says to wait: https://huggingface.co/docs/hub/rate-limits. */
function waitOf({ headers }: Response): number | undefined {
  const after = headers.get('retry-after');
  const until = after === null ? NaN : Date.parse(after);
  const seconds = after === null || after === '' ? NaN : Number(after);
  const [, reset] = /;\s*t=(\d+)/.exec(headers.get('ratelimit') ?? '') ?? [];
  const told = [seconds, (until - Date.now()) / 1000, Number(reset)].find((each) => !Number.isNaN(each));
  return told === undefined ? undefined : Math.max(1, Math.ceil(told));
}
