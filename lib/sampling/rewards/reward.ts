import { FkinvError } from '../../errors';

/** What a file of this folder says of its reward. */
export interface RewardDefinition<Name extends string> {
  /** In camel case: of `clip` the option is `lambdaClip`, the result's field `rewardClip`, the flag `--lambda-clip`. */
  name: Name;
  /** The default of λ, 0 to 10000. */
  lambda: number;
  /** What a value says, and its range: half a line of the command's help. */
  what: string;
  /**
   * Gives a finite value for each text, in order, where the reward depends on texts alone. A reward without this function is
   * computed by the engine (cpp/rewards/rewards.cpp), under the same name.
   */
  ofTexts?: (texts: readonly string[]) => readonly number[] | Promise<readonly number[]>;
}

/** A reward that steers the particles, with everything that follows from its name. */
export interface Reward<Name extends string = string> extends RewardDefinition<Name> {
  option: `lambda${Capitalize<Name>}`;
  field: `reward${Capitalize<Name>}`;
  flag: string;
}

/** Derives the names of a reward's option, result field and flag from its definition. */
export function defineReward<const Name extends string>(definition: RewardDefinition<Name>): Reward<Name> {
  const { name } = definition;
  const capitalized = (name.charAt(0).toUpperCase() + name.slice(1)) as Capitalize<Name>;
  const dashed = name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return { ...definition, option: `lambda${capitalized}`, field: `reward${capitalized}`, flag: `--lambda-${dashed}` };
}

/** The least and the greatest λ of every reward. */
export const lambdaRange = [0, 10000] as const;

/**
 * The values of `texts` under those of `rewards` that depend on texts alone, by the rewards' names. Equal texts are valued once;
 * a guess without a text has 0, which is not used. Throws `INTERNAL` where a value is no finite number.
 */
export async function valuesOfTexts(
  rewards: readonly Reward[],
  texts: readonly (string | undefined)[],
): Promise<Record<string, Float64Array>> {
  const distinct = [...new Set(texts.filter((text) => text !== undefined))];
  const values: Record<string, Float64Array> = {};
  for (const { name, field, ofTexts } of rewards) {
    if (ofTexts === undefined) continue;
    const found = await ofTexts(distinct);
    const valueOf = new Map(distinct.map((text, i) => [text, found[i] ?? NaN]));
    const wrong = [...valueOf].find(([, value]) => !Number.isFinite(value));
    if (wrong !== undefined) {
      const [text, value] = wrong;
      throw new FkinvError('INTERNAL', `${field} of ${JSON.stringify(text)} is ${value}, which is no finite number`);
    }
    values[name] = Float64Array.from(texts, (text) => (text === undefined ? 0 : (valueOf.get(text) ?? NaN)));
  }
  return values;
}
