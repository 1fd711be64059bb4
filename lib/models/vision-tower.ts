import type { PreparedImage } from '../images/pixels';
import { preparedSize, preprocessorSchema, type Preprocessor } from '../images/preprocessor';
import { towerGraph, type TowerCondition } from './manifest';
import type { Graph } from './graph';
import type { ModelFolder } from './model-folder';
import type { NativeEngine, NativeRecorder, NativeTensor } from '../native/addon';

/** What a tower gives of one image: features [1, …] on the engine's device, or ids. */
export type TowerOutput = { features: NativeTensor } | { ids: bigint[] };

/** A vision graph of the dLLM's own, and `preprocessor_config.json`, which says what goes before it. */
export class VisionTower {
  private constructor(
    readonly graph: Graph,
    readonly preprocessor: Preprocessor,
    private readonly output: string,
    /** True where the output is ids for the prefix, false where it is features for an input. */
    private readonly givesIds: boolean,
    /** Shape of the output, less its axis of images. */
    readonly rowShape: number[],
  ) {}

  /**
   * Loads the tower that `condition` names onto `engine`.
   * @throws FkinvError `MODEL_NOT_FOUND`, `MODEL_INVALID` or `MODEL_INTERFACE`
   */
  static async load(
    engine: NativeEngine,
    folder: ModelFolder,
    condition: TowerCondition,
    optimization: number,
  ): Promise<VisionTower> {
    const { from, output } = condition;
    const preprocessor = await folder.json('preprocessor_config.json', preprocessorSchema);
    const graph = await folder.graph(engine, towerGraph(from, optimization));
    const { height = 'height', width = 'width' } = preparedSize(preprocessor) ?? {};
    graph.expectInputs([{ name: 'pixel_values', types: ['float32', 'float16'], axes: ['images', 3, height, width] }]);
    const givesIds = 'prefix' in condition;
    return new VisionTower(graph, preprocessor, output, givesIds, rowShapeOf(graph, output, givesIds));
  }

  /** Runs the tower on one image, prepared as `preprocessor` says. */
  async encode({ pixelValues, width, height }: PreparedImage, recorder?: NativeRecorder): Promise<TowerOutput> {
    const { session } = this.graph;
    const inputs = [{ name: 'pixel_values', data: pixelValues, rowShape: [3, height, width] }];
    const recorded = recorder && { recorder, model: 'dLLM vision' };
    if (this.givesIds) {
      return { ids: Array.from(await session.run(1, inputs, this.output, this.rowShape, 'int64', recorded)) };
    }
    return { features: await session.run(1, inputs, this.output, this.rowShape, 'float32', recorded) };
  }
}

/** Features may have any number of axes, ids have one; each is fixed, since the memory for it is bound before a run. */
function rowShapeOf(graph: Graph, output: string, givesIds: boolean): number[] {
  const { shape = [] } = graph.session.outputs.find(({ name }) => name === output) ?? {};
  const features = shape.length < 2 ? ['size'] : shape.slice(1).map((_, axis) => `size ${axis + 1}`);
  const found = graph.expectOutput({
    name: output,
    types: givesIds ? ['int64'] : ['float32', 'float16'],
    axes: ['images', ...(givesIds ? ['ids'] : features)],
  });
  const rowShape = found.shape.slice(1);
  if (rowShape.every((extent) => extent >= 1)) return rowShape;
  const sizes = found.shape.map((extent) => (extent === -1 ? '?' : extent)).join(', ');
  return graph.refuse(`leaves the size of "${output}" [${sizes}] open: export it with all axes but the first fixed`);
}
