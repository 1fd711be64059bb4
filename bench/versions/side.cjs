// node side.cjs FOLDER THREADS: one version of the package, built in FOLDER, which does what it is sent (bench/versions.ts).
const { performance } = require('node:perf_hooks');

const [folder, threads] = process.argv.slice(2);
const { Inverter } = require(folder);

/** What must be equal to the bit: of every particle and every step, not of the best alone. */
function outcomeOf({ prompt, reward, logProb, particles, coupling, trace }) {
  const steps = trace.map(({ best, rewardClip, rewardEdit, logWeights, ess, ancestors, resampled, states }) => {
    return { best, rewardClip, rewardEdit, logWeights, ess, ancestors, resampled, states };
  });
  return { prompt, reward, logProb, particles, coupling, steps };
}

async function main() {
  const inverter = await Inverter.load({ threads: Number(threads), device: 'cpu' });
  process.on('message', async ({ files, options, isTimed }) => {
    const start = performance.now();
    const results = [];
    if (options.maxBatch === undefined) {
      for (const file of files) results.push(await inverter.invert(file, options));
    } else {
      for await (const result of inverter.invertAll(files, options)) results.push(result);
    }
    const seconds = (performance.now() - start) / 1000 / files.length;
    const failed = results.find((result) => result instanceof Error);
    if (failed !== undefined) throw failed;
    process.send(isTimed ? seconds : results.map(outcomeOf));
  });
  process.send('ready');
}

void main();
