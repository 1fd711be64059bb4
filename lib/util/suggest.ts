import { distance } from 'fastest-levenshtein';

/** `particls`, `--lambdaClip` and `lambda_clip` as names are compared: by their letters and digits, in lower case. */
function bare(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** Those of `names` that were probably meant by `word`: the nearest by edits, or else a few that contain it. */
function similar(word: string, names: readonly string[]): string[] {
  const wanted = bare(word);
  if (wanted.length < 2) return [];
  const edits = names.map((name) => distance(wanted, bare(name)));
  const fewest = Math.min(...edits);
  if (fewest <= Math.max(1, wanted.length / 3)) return names.filter((_, i) => edits[i] === fewest);
  const containing = names.filter((name) => bare(name).includes(wanted));
  return wanted.length >= 3 && containing.length <= 3 ? containing : [];
}

/** ` (did you mean --particles?)`, after a message about the unknown `word`; empty when none of `names` is near. */
export function didYouMean(word: string, names: readonly string[]): string {
  const meant = similar(word, names);
  return meant.length > 0 ? ` (did you mean ${meant.join(' or ')}?)` : '';
}
