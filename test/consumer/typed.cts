import { FkinvError, Inverter, type ImageInput, type Inversion, type InvertOptions } from 'fkinv-native';
import { philox } from 'fkinv-native/kernels';

async function promptOf(image: ImageInput, options: InvertOptions): Promise<string> {
  const inverter = await Inverter.load();
  try {
    const inversion: Inversion = await inverter.invert(image, options);
    return inversion.prompt;
  } catch (error) {
    return error instanceof FkinvError ? error.code : 'not an FkinvError';
  } finally {
    await inverter.dispose();
  }
}

export const words: Uint32Array = philox([0, 0, 0, 0], [0, 0]);
// @ts-expect-error an unknown option
export const wrong: InvertOptions = { particls: 3 };
void promptOf('bells.png', { seed: 0n }).then((prompt) => console.log(prompt));
