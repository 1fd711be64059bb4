import { native, type NativeMemoryPlan } from '../native/addon';
import type { ResolvedOptions } from './resolved-options';
import { particleOptions } from './sampler';
import type { Models } from '../models/replicas';

/** Bytes of the device's memory that the particles of `images` images take together. */
export interface MemoryPlan extends NativeMemoryPlan {
  images: number;
  total: number;
}

/** What a call of `images` images with these options takes, before anything is allocated. */
export function planMemory({ engine, dllm, clip }: Models, options: ResolvedOptions, images: number): MemoryPlan {
  const prefixes = new Array<number>(images * dllm.prefixLengthWith(options.instruction)).fill(0);
  const given = particleOptions(dllm, options, { prefixes, seeds: new Array<bigint>(images).fill(0n) });
  const plan = native.planMemory(engine, dllm.graph(), clip.textGraph(), clip.embedSize, given);
  const total = Object.values(plan).reduce<number>((sum, bytes) => sum + (bytes as number), 0);
  return { ...plan, images, total };
}
