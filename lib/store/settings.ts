import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { FkinvError } from '../errors';
import { environment } from '../util/environment';

/** Where models come from and go to, as the environment has it: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables */
export interface StoreSettings {
  /** Address of the Hub or a mirror, without a slash at its end. */
  endpoint: string;
  /** The folder of the Hugging Face cache. */
  cache: string;
  /** Who asks. */
  token: string | undefined;
  /** Whether nothing is fetched. */
  isOffline: boolean;
}

/** Reads the settings. Throws `INVALID_OPTION`. */
export function storeSettings(): StoreSettings {
  const home = environment.hubHome ?? path.join(environment.cacheHome ?? path.join('~', '.cache'), 'huggingface');
  return {
    endpoint: endpointOf(environment.hubEndpoint ?? 'https://huggingface.co'),
    cache: expanded(environment.hubCache ?? path.join(home, 'hub')),
    token: environment.hubToken?.trim() ?? tokenIn(expanded(environment.hubTokenFile ?? path.join(home, 'token'))),
    isOffline: environment.isHubOffline,
  };
}

function endpointOf(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const isFit = /^https?:$/.test(url?.protocol ?? '') && url?.username === '' && url.search === '' && url.hash === '';
  if (isFit) return url.href.replace(/\/+$/, '');
  throw new FkinvError(
    'INVALID_OPTION',
    'HF_ENDPOINT: must be an address such as https://huggingface.co, without a user',
  );
}

/** A path whose `~` is the user's folder, as the variables of Python tools may have it. */
function expanded(given: string): string {
  return path.resolve(given.replace(/^~(?=$|[/\\])/, homedir()));
}

function tokenIn(file: string): string | undefined {
  try {
    const token = readFileSync(file, 'utf8').trim();
    return token === '' ? undefined : token;
  } catch {
    return undefined; // nobody is logged in
  }
}
