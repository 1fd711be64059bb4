import { FkinvError } from '../errors';

/** What a name of a model begins with that is one of the Hugging Face Hub. */
const prefix = 'hf:';

/** A repository of the Hugging Face Hub, as `hf:org/name[:variant][@revision]` names it. */
export interface HubName {
  kind: 'hub';
  /** `org/name`. */
  repository: string;
  /** The variant of its graphs, such as `q8`; default the one that the device runs best. */
  variant?: string;
  /** A branch, a tag or a commit; default `main`. */
  revision?: string;
}

/** A folder of this machine. */
export interface FolderName {
  kind: 'folder';
  /** As it was given. */
  path: string;
}

/**
 * What the name of a model means: a repository of the Hugging Face Hub where it begins with `hf:`, else a folder; a folder that
 * begins so is `./hf:…`. Throws `INVALID_OPTION`.
 */
export function parseModelName(text: string): HubName | FolderName {
  return text.startsWith(prefix) ? parseHubName(text) : { kind: 'folder', path: text };
}

/** The repository that `text` names, which begins with `hf:`. Throws `INVALID_OPTION`. */
export function parseHubName(text: string): HubName {
  const refuse = (what: string): never => {
    const form = `${prefix}org/name, with :variant and @revision behind it`;
    throw new FkinvError('INVALID_OPTION', `${text}: ${what} (a model of the Hugging Face Hub is named ${form})`);
  };
  if (!text.startsWith(prefix)) return refuse(`it does not begin with ${prefix}`);
  const [name = '', ...revisions] = text.slice(prefix.length).split('@');
  const [repository = '', ...variants] = name.split(':');
  const parts = repository.split('/');
  const revision = revisions.join('@');
  if (parts.length !== 2 || variants.length > 1) return refuse('cannot be read');
  for (const part of [...parts, ...variants, ...(revisions.length > 0 ? revision.split('/') : [])]) {
    if (part === '') return refuse('a part of it is empty');
    if (part.includes('..')) return refuse('no part of it may have ..');
    if (!/^[\w.-]+$/.test(part)) return refuse(`"${part}" has characters other than letters, digits, . _ and -`);
    if (/^[.-]|[.-]$/.test(part)) return refuse(`"${part}" begins or ends with . or -`);
  }
  // The cache of the Hub names a folder models--org--name.
  if (parts.some((part) => part.includes('--'))) return refuse('no name on the Hub has --');
  const [variant] = variants;
  return {
    kind: 'hub',
    repository,
    ...(variant !== undefined && { variant }),
    ...(revisions.length > 0 && { revision }),
  };
}

/** The text of a name of the Hub. */
export function nameOf({ repository, variant, revision }: Omit<HubName, 'kind'>): string {
  const ofVariant = variant === undefined ? '' : `:${variant}`;
  return `${prefix}${repository}${ofVariant}${revision === undefined ? '' : `@${revision}`}`;
}
