// An engine on the processor, for tests of what is the same on every device.
import { createEngine } from '../lib/engine';
import type { NativeEngine } from '../lib/native';

export function cpuEngine(threads: number): NativeEngine {
  return createEngine({ threads, device: 'cpu', warn: () => undefined });
}
