import path from 'node:path';
import { filesOfVariant, inOrder, isVariant, variants } from './variants';

/** A graph of a model folder, and how to load it. */
export interface GraphFile {
  /** The kind of model that it is of. */
  kind: 'clip' | 'dllm';
  /** The file that the manifest names; without one the graph is `standard` or a variant of it, in the folder or in its `onnx/`. */
  named: string | undefined;
  standard: string;
  /** Another place where the graph may be, before its variants' suffixes. */
  elsewhere?: string;
  /** Variants that the manifest names, before those that a file's suffix tells. */
  variants?: Record<string, { file: string; optimization: number }>;
  /** ONNX Runtime's GraphOptimizationLevel. */
  optimization: number;
  /** Whether a GPU captures its runs as CUDA graphs; default false. */
  cudaGraphs?: boolean;
  /** What the folder needs, which the error says where the graph is missing. */
  needs: string;
}

/** A file that may be the graph. */
export interface GraphChoice {
  /** In the folder, with slashes. */
  name: string;
  optimization: number;
  /** The variant that it is; undefined where the manifest names the file. */
  variant: string | undefined;
}

/**
 * The files that may be the graph, the first that is there being the one: those of the variant that was `asked` for; else the one
 * that the manifest names; else all variants, those that `device` runs best first.
 */
export function choicesOf(graph: GraphFile, asked: string | undefined, device: 'cpu' | 'cuda'): GraphChoice[] {
  const { kind, named, standard, elsewhere, variants: own = {}, optimization } = graph;
  const ofVariant = (variant: string): GraphChoice[] => {
    const given = own[variant];
    if (given !== undefined) return [{ name: given.file, optimization: given.optimization, variant }];
    if (!isVariant(variant)) return [];
    const places = [standard, path.posix.join('onnx', standard), ...(elsewhere === undefined ? [] : [elsewhere])];
    return places.flatMap((place) => filesOfVariant(place, variant)).map((name) => ({ name, optimization, variant }));
  };
  if (asked !== undefined) return ofVariant(asked);
  if (named !== undefined) return [{ name: named, optimization, variant: undefined }];
  return inOrder([...new Set([...Object.keys(own), ...variants])], kind, device).flatMap(ofVariant);
}
