const { readFileSync } = require('node:fs');
const { isMainThread, parentPort, Worker } = require('node:worker_threads');
const { Inverter } = require('fkinv-native');

async function main() {
  const inverter = await Inverter.load();
  const { prompt } = await inverter.invert(readFileSync('bells.png'));
  parentPort.postMessage(prompt);
  await inverter.dispose();
}
if (isMainThread) new Worker(__filename).on('message', console.log);
else main();
