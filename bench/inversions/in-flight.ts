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
  /** Of the engine's thread: no model and no kernel runs on it. */
  idleShare: number;
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
  const images = loadScenes().length;
  const job = { count: images, batch: inFlight, seed: 0 };
  const { secondsAnImage, rowsAStep, stages } = await invertScenes(inverter, job);
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  // The host's stages are beside it; encodeImage, which waits for the engine too, is left out, and counts as idle.
  const host = new Set(['decodeImage', 'encodeImage', 'decodeText', 'tokenizeText']);
  const busy = Object.entries(stages).reduce((ms, [name, one]) => ms + (host.has(name) ? 0 : one), 0);
  const idleShare = 1 - busy / (secondsAnImage * 1000);
  const rates = { imagesASecond: 1 / secondsAnImage, idleShare, rowsAStep };
  const measured = { inFlight, images, ...rates, loadedBytes, peakBytes };
  console.log(JSON.stringify(measured satisfies InFlight));
}

void main();
