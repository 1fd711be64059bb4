import { FkinvError, Inverter, type ImageJob, type TraceStep } from 'fkinv-native';
import { resample, type ResamplingScheme } from 'fkinv-native/kernels';

const steps: TraceStep[] = [];
const job: ImageJob = { image: 'bells.png', seed: 0 };
const scheme: ResamplingScheme = 'systematic';
const ancestors: Int32Array = resample(new Float64Array([0]), { scheme, u: new Float64Array([0]) }).ancestors;

const inverter = await Inverter.load({ threads: ancestors.length });
for await (const result of inverter.invertAll([job], { onStep: (step) => steps.push(step) }))
  console.log(result instanceof FkinvError ? result.code : result.prompt);
for await (const { index, result } of inverter.invertAll([job], { ordered: false, maxBatch: 8 }))
  console.log(index, result instanceof FkinvError ? result.code : result.prompt);
await inverter.dispose();
// @ts-expect-error a step is no text
export const wrong: string | undefined = steps[0];
