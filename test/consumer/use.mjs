import { Inverter } from 'fkinv-native';

const inverter = await Inverter.load();
const { prompt } = await inverter.invert(new URL('bells.png', import.meta.url));
console.log(prompt);
await inverter.dispose();
