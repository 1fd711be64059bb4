const { Inverter } = require('fkinv-native');

async function main() {
  const inverter = await Inverter.load();
  const { prompt } = await inverter.invert('bells.png');
  console.log(prompt);
  await inverter.dispose();
}
main();
