import path from 'node:path';
import { FkinvError, messageOf } from '../errors';
import { choicesOf, type GraphFile } from '../models/graph-file';
import { knownModels } from '../models/known';
import { clipGraph, clipManifest, dllmGraph, dllmManifest, manifestName, statedKind } from '../models/manifest';
import { inOrder, variants } from '../models/variants';
import { validate } from '../util/validate';

/** What of a repository is needed for one variant of its model. */
export interface Choice {
  kind: 'clip' | 'dllm';
  /** Undefined where the manifest names the graphs. */
  variant: string | undefined;
  /** The variants that it has. */
  variants: string[];
  /** The graphs, by their names in the repository. */
  graphs: string[];
  /** The other files that the manifest or the kind of model tells; what graphs keep elsewhere they tell themselves. */
  others: string[];
}

/** What a choice is made of. */
export interface Contents {
  repository: string;
  /** Its files, with slashes. */
  names: readonly string[];
  /** The text of its fkinv.json, where it has one. */
  manifest: string | undefined;
}

/** Files of a model that are no graphs, in the repository itself or beside a graph. */
const configs = new Set([
  'config.json',
  'open_clip_config.json',
  'preprocessor_config.json',
  'preprocess_cfg.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
]);
/** Files that say what one may do with it, in the repository itself: the page's head states the licence. */
const terms = /^(readme\.md|(licen[cs]e|notice|copying)([._-].*)?)$/i;

/** Keys of a manifest under which graphs stand, which are chosen among. */
const graphKeys = ['graph', 'graphs', 'variants'];

/**
 * Chooses what is needed: the variant that is `asked` for, else the graphs that the manifest names, else the variant that the
 * device runs best. Throws `MODEL_NOT_FOUND`, which says what is not there, or `MODEL_INVALID`.
 */
export function choose(contents: Contents, asked: string | undefined, device: 'cpu' | 'cuda'): Choice {
  const { repository, names } = contents;
  const there = new Set(names);
  const { kind, graphs, given } = modelOf(contents, there);
  const fileOf = (graph: GraphFile, variant: string | undefined): string | undefined =>
    choicesOf(graph, variant, device).find(({ name }) => there.has(name))?.name;
  const all = [...new Set([...graphs.flatMap(({ variants: own = {} }) => Object.keys(own)), ...variants])];
  const whole = inOrder(all, kind, device).filter((variant) =>
    graphs.every((graph) => fileOf(graph, variant) !== undefined),
  );
  const isNamed = asked === undefined && graphs.every(({ named }) => named !== undefined);
  const variant = isNamed ? undefined : (asked ?? whole[0]);
  const files = isNamed
    ? graphs.map(({ named }) => named)
    : graphs.map((graph) => (variant === undefined ? undefined : fileOf(graph, variant)));
  const found = files.filter((file) => file !== undefined);
  if (found.length < graphs.length) {
    const what = asked === undefined ? 'variant whose graphs are all there' : `variant ${asked}`;
    const has = whole.length === 0 ? '' : `; it has ${whole.join(', ')}`;
    throw new FkinvError('MODEL_NOT_FOUND', `${repository} has no ${what}${has}`);
  }
  const named = namedIn(given).map((name) => path.posix.normalize(name));
  const missing = [...found, ...named.filter((name) => name.endsWith('.onnx'))].find((name) => !there.has(name));
  if (missing !== undefined) {
    throw new FkinvError('MODEL_NOT_FOUND', `${repository} has no ${missing}, which its ${manifestName} names`);
  }
  const folders = new Set(['.', ...found.map((name) => path.posix.dirname(name))]);
  const isConfig = (name: string): boolean =>
    configs.has(path.posix.basename(name)) && folders.has(path.posix.dirname(name));
  const others = names.filter(
    (name) => isConfig(name) || terms.test(name) || named.includes(name) || name === manifestName,
  );
  if (!others.some((name) => path.posix.basename(name) === 'tokenizer.json')) {
    throw new FkinvError('MODEL_NOT_FOUND', `${repository} is no model that can be loaded: it has no tokenizer.json`);
  }
  const graphsNamed = others.filter((name) => name.endsWith('.onnx'));
  return {
    kind,
    variant,
    variants: whole,
    graphs: [...new Set([...found, ...graphsNamed])],
    others: others.filter((name) => !graphsNamed.includes(name) && !found.includes(name)),
  };
}

/** What kind of model it is, the graphs that it needs, and its manifest. */
function modelOf(
  { repository, names, manifest }: Contents,
  there: ReadonlySet<string>,
): { kind: 'clip' | 'dllm'; graphs: GraphFile[]; given: object } {
  const what = `${manifestName} of ${repository}`;
  const given = manifest === undefined ? (knownModels[repository]?.manifest ?? {}) : parse(manifest, what);
  const isThere = (graph: GraphFile): boolean => choicesOf(graph, undefined, 'cpu').some(({ name }) => there.has(name));
  const graphsOf = {
    clip: (from: object): GraphFile[] => {
      const read = validate(clipManifest, from, what, 'MODEL_INVALID');
      return [clipGraph(read, 'vision'), clipGraph(read, 'text')];
    },
    dllm: (from: object): GraphFile[] => [dllmGraph(validate(dllmManifest, from, what, 'MODEL_INVALID'))],
  };
  const usual = (['clip', 'dllm'] as const).find((kind) => graphsOf[kind]({}).every(isThere));
  const kind = statedKind(given, repository) ?? usual;
  if (kind !== undefined) return { kind, graphs: graphsOf[kind](given), given };
  const isTorch = names.some((name) => /\.(safetensors|bin|pt)$/.test(name));
  const remedy = isTorch ? '; its weights are of PyTorch, and have to be exported first' : '';
  throw new FkinvError(
    'MODEL_NOT_FOUND',
    `${repository} is no model that can be loaded: it has neither a dLLM's model.onnx nor a CLIP's vision_model.onnx and ` +
      `text_model.onnx, in itself or in its onnx/, and no ${manifestName} that names others${remedy}`,
  );
}

function parse(text: string, what: string): object {
  try {
    const value: unknown = JSON.parse(text.replace(/^\ufeff/, ''));
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new FkinvError('MODEL_INVALID', `${what} is not JSON: ${messageOf(cause)}`, { cause });
  }
  throw new FkinvError('MODEL_INVALID', `${what} is no object`);
}

/** Every text of a manifest that can be a file's name, and the names of those that it has hashes of. */
function namedIn(manifest: object): string[] {
  const names: string[] = [];
  const visit = (value: unknown): void => {
    if (typeof value === 'string') names.push(value);
    else if (typeof value === 'object' && value !== null) {
      for (const each of Object.values(value)) visit(each);
    }
  };
  for (const [key, value] of Object.entries(manifest)) {
    if (key === 'files') names.push(...Object.keys(value as object));
    else if (!graphKeys.includes(key)) visit(value);
  }
  return names;
}
