// An engine on the processor, for tests of what is the same on every device.
import { createEngine } from '../../lib/native/create-engines';
import type { NativeEngine } from '../../lib/native/addon';

export function cpuEngine(threads: number): NativeEngine {
  return createEngine({ threads, device: 'cpu', warn: () => undefined });
}
