import type { Response } from 'undici';
import { FkinvError } from '../errors';
import type { StoreSettings } from './settings';

/** What was asked for. */
export interface Asked {
  repository: string;
  revision: string;
  file?: string;
  /** The files of the repository. */
  there?: string[];
}

/** Names of files that a message has at most. */
const mostNames = 12;

/** What the Hub refused, and what to do, by the code that it gives: https://huggingface.co/docs/hub/api */
export async function refusalOf(response: Response, asked: Asked, settings: StoreSettings): Promise<FkinvError> {
  const { status, headers } = response;
  await response.body?.cancel();
  const code = headers.get('x-error-code');
  const page = `${settings.endpoint}/${asked.repository}`;
  const { repository, revision, file = '', there = [] } = asked;
  const refuse = (message: string): FkinvError => new FkinvError('HUB_REFUSED', message);
  if (code === 'GatedRepo') {
    const whose =
      settings.token === undefined
        ? 'give a token of your account as HF_TOKEN'
        : 'the token that is given is not of an account that did';
    return refuse(`${repository} is gated: open ${page}, agree to its terms, and pull again (${whose})`);
  }
  if (code === 'RepoNotFound' || (code === null && (status === 401 || status === 404))) {
    const login =
      settings.token === undefined ? 'log in, by HF_TOKEN or hf auth login' : 'the token that is given does not see it';
    return refuse(
      `there is no ${repository} at ${settings.endpoint}: the name is misspelt, or it is private (${login})`,
    );
  }
  if (code === 'RevisionNotFound') {
    return refuse(`${repository} has no revision ${revision}: ${page}/tree/main has its branches and tags`);
  }
  if (code === 'EntryNotFound') {
    const names = there.slice(0, mostNames).join(', ');
    const more = there.length > mostNames ? `, and ${there.length - mostNames} more` : '';
    return refuse(`${repository} has no file ${file} at ${revision}; it has ${names}${more}`);
  }
  const message = headers.get('x-error-message') ?? 'no reason is given';
  return refuse(
    `${settings.endpoint} refuses ${file === '' ? repository : `${file} of ${repository}`} (${status}: ${message})`,
  );
}
