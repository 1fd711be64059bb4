import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Inverter, InvertOptions } from 'fkinv-native';

/** A picture and its facts: what a faithful prompt says, each a regular expression over the lower-cased prompt. */
export interface Scene {
  file: string;
  captions: string[];
  facts: Record<string, RegExp>;
}

/** Of the pictures and scenes.json. */
export const scenesFolder = path.join(__dirname, '..', 'test', 'fixtures', 'scenes');

export function loadScenes(): Scene[] {
  const rows = JSON.parse(readFileSync(path.join(scenesFolder, 'scenes.json'), 'utf8')) as {
    file: string;
    captions: string[];
    facts: Record<string, string>;
  }[];
  return rows.map(({ file, captions, facts }) => ({
    file: path.join(scenesFolder, file),
    captions,
    facts: Object.fromEntries(Object.entries(facts).map(([name, pattern]) => [name, new RegExp(pattern)])),
  }));
}

/** The kinds of steering, as options over the defaults. */
export const ablations = {
  none: { lambdaClip: 0, lambdaEdit: 0 },
  'CLIP only': { lambdaEdit: 0 },
  'similarity only': { lambdaClip: 0 },
  'both (default)': {},
} satisfies Record<string, InvertOptions>;

/** Facts recovered by the method in plain PyTorch on the same scenes and weights (3 seeds; 8 for the default). */
export const reference: Record<string, string> = {
  none: '0.455 ± 0.008',
  'CLIP only': '0.603 ± 0.020',
  'similarity only': '0.444 ± 0.037',
  'both (default)': '0.582 ± 0.025',
};

/** One inversion, graded. */
export interface Run {
  scene: number;
  seed: number;
  /** Facts of the scene that the prompt states. */
  stated: number;
  /** Facts of the scene. */
  facts: number;
  rewardClip: number;
  rewardEdit: number;
}

/** Inverts every scene with every seed, two at a time. */
export async function measure(
  inverter: Inverter,
  scenes: Scene[],
  seeds: number[],
  options: InvertOptions,
): Promise<Run[]> {
  const runs: Run[] = [];
  const jobs = seeds.flatMap((seed) => scenes.map((scene, index) => ({ seed, scene, index }))).values();
  const worker = async (): Promise<void> => {
    for (const { seed, scene, index } of jobs) {
      const { prompt, rewardClip, rewardEdit } = await inverter.invert(scene.file, { ...options, seed });
      const stated = Object.values(scene.facts).filter((fact) => fact.test(prompt.toLowerCase())).length;
      runs.push({ scene: index, seed, stated, facts: Object.keys(scene.facts).length, rewardClip, rewardEdit });
    }
  };
  await Promise.all([worker(), worker()]);
  return runs;
}
