// npm run bench:profile [-- --pairs 25]
// What it costs to record: inversions of one image with and without a profile, in turn, and the ratio of each pair's
// times. What is not profiled runs the same device without a recorder around it, so that the ratio is more than all
// that recording could cost it.
import { parseArgs } from 'node:util';
import path from 'node:path';
import { Inverter } from 'fkinv-native';

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { pairs: { type: 'string', default: '25' } } });
  const image = path.join(__dirname, '..', 'examples', 'bells.png');
  for (const threads of [1, 2]) {
    await using inverter = await Inverter.load({ threads });
    const off = async (): Promise<number> => (await inverter.invert(image)).timings.total;
    const on = async (): Promise<number> => (await inverter.profile(image)).inversion.timings.total;
    await off();
    await on();
    const pairs: { off: number; ratio: number }[] = [];
    for (let i = 0; i < Number(values.pairs); i++) {
      // Whichever goes first may find the machine otherwise than the second does.
      const first = i % 2 === 0 ? await off() : await on();
      const second = i % 2 === 0 ? await on() : await off();
      const [without, recorded] = i % 2 === 0 ? [first, second] : [second, first];
      pairs.push({ off: without, ratio: recorded / without });
    }
    const ratios = pairs.map(({ ratio }) => ratio);
    const quarter = (share: number): string => quantile(ratios, share).toFixed(3);
    console.log(
      `${threads} thread${threads === 1 ? '' : 's'}: ${quantile(
        pairs.map((pair) => pair.off),
        0.5,
      ).toFixed(0)} ms without a profile; ` +
        `with one ${quarter(0.5)} times that (quartiles ${quarter(0.25)} to ${quarter(0.75)}, ${pairs.length} pairs)`,
    );
  }
}

function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))] ?? NaN;
}

void main();
