import { fork } from 'node:child_process';
import { Fault } from './checks';
import type { Footprint, TrialResult, TrialTask } from './trial';
import { FkinvError } from '../errors';

/**
 * Inverts one picture with the models, in a process of its own, and gives what that took of memory.
 * @throws FkinvError what the inversion fails with; a {@link Fault} where the process itself was ended
 */
export async function measureFootprint(task: TrialTask): Promise<Footprint> {
  const result = await new Promise<TrialResult>((resolve, reject) => {
    const child = fork(require.resolve('./trial'), { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    child.once('message', (message) => {
      resolve(message as TrialResult);
      child.disconnect();
    });
    child.once('error', reject);
    child.once('exit', (code, signal) => reject(ended(signal ?? `code ${code ?? ''}`)));
    child.send(task);
  });
  if ('error' in result) throw new FkinvError(result.code, result.error);
  return result.footprint;
}

function ended(how: string): Fault {
  return new Fault(
    `the process that inverted a picture ended with ${how}`,
    'Most often memory ran out: take a smaller variant of the dLLM, or give the machine more.',
    'OUT_OF_MEMORY',
  );
}
