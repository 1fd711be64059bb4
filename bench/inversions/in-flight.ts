// tsx bench/inversions/in-flight.ts IMAGES THREADS: inversions of that many images in flight together, in a process of
// their own so that its peak of memory is theirs; prints an InFlight.
import { Inverter } from 'fkinv-native';
import { loadScenes } from '../scenes';
import { invertScenes } from './engine';

export interface InFlight {
  inFlight: number;
  /** Images that were inverted. */
  images: number;
  imagesASecond: number;
  /** Rows of the dLLM a step, mean. */
  rowsAStep: number;
  /** Resident memory of the process with the models loaded, and its peak. */
  loadedBytes: number;
  peakBytes: number;
}

async function main(): Promise<void> {
  const [inFlight = 1, threads = 1] = process.argv.slice(2).map(Number);
  await using inverter = await Inverter.load({ threads });
  await inverter.invert(loadScenes()[0]?.file ?? '', { steps: 2 }); // what is compiled and allocated once
  const loadedBytes = process.memoryUsage.rss();
  const images = Math.max(16, inFlight);
  const { secondsAnImage, rowsAStep } = await invertScenes(inverter, { count: images, batch: inFlight, seed: 0 });
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  const measured = { inFlight, images, imagesASecond: 1 / secondsAnImage, rowsAStep, loadedBytes, peakBytes };
  console.log(JSON.stringify(measured satisfies InFlight));
}

void main();
