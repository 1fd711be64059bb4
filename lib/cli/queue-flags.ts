import { type Command, InvalidArgumentError, Option } from 'commander';
import type { QueueAddress } from '../bulk/queue';
import { FkinvError } from '../errors';
import { environment } from '../util/environment';

/** What the flags of a queue come to. */
export interface QueueFlags {
  redis?: string;
  queue: string;
}

/** Where the queue is, by the flags and the environment. Throws `INVALID_OPTION`, without the address, as it may hold a password. */
export function addressOf(redis: string | undefined, queue: string): QueueAddress {
  if (redis !== undefined) return { redis, queue };
  const { redis: ofEnvironment } = environment;
  if (ofEnvironment === undefined) {
    throw new FkinvError('INVALID_OPTION', `--redis <url> is not given, and FKINV_REDIS is not set: ${addressForm}`);
  }
  if (!isAddress(ofEnvironment)) throw new FkinvError('INVALID_OPTION', `FKINV_REDIS: ${addressForm}`);
  return { redis: ofEnvironment, queue };
}

const addressForm = 'it must be an address such as redis://localhost:6379';

function isAddress(text: string): boolean {
  return URL.canParse(text) && /^rediss?:$/.test(new URL(text).protocol);
}

function parseAddress(text: string): string {
  if (isAddress(text)) return text;
  throw new InvalidArgumentError('It must be an address such as redis://localhost:6379.');
}

function nameOf(text: string): string {
  if (text !== '' && !text.includes(':')) return text;
  throw new InvalidArgumentError('It must be a name without colons.');
}

/** The value of a flag that is a whole number of a range. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

/** Adds the flags that say where a queue is. */
export function addQueueFlags(command: Command): Command {
  return command
    .optionsGroup('Queue:')
    .addOption(
      new Option(
        '--redis <url>',
        'address of Redis (default FKINV_REDIS of the environment: the place for one with a password)',
      ).argParser(parseAddress),
    )
    .addOption(new Option('--queue <name>', 'name of the queue').argParser(nameOf).makeOptionMandatory());
}
