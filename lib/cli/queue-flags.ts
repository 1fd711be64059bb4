import { type Command, InvalidArgumentError, Option } from 'commander';

/** What the flags of a queue come to. */
export interface QueueFlags {
  redis: string;
  queue: string;
}

function addressOf(text: string): string {
  if (URL.canParse(text) && /^rediss?:$/.test(new URL(text).protocol)) return text;
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
    .addOption(new Option('--redis <url>', 'address of Redis').argParser(addressOf).makeOptionMandatory())
    .addOption(new Option('--queue <name>', 'name of the queue').argParser(nameOf).makeOptionMandatory());
}
