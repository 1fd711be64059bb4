// npm run bench:kernels: the same mathematics as an ONNX graph, run by ONNX Runtime, as a contender.
import * as ort from 'onnxruntime-node';
import {
  float32,
  int64,
  node,
  onnxFile,
  type Graph,
  type Node,
  type Tensor,
  type Value,
} from '../../test/onnx/builder';
import { contend, type Contestant, type Logits } from './contend';
import type { Case } from './contender';

// Transpose and MatMul become one product without a transposed copy, by ONNX Runtime's own fusion.
const similarity = [
  node('Cast', 'z', 'z32', { to: 1 }),
  node('Softmax', 'z32', 'p', { axis: -1 }),
  node('Transpose', 'p', 'pT', { perm: [0, 2, 1] }),
  node('MatMul', 'p pT', 's'),
];
const reward = [
  node('Mul', 's weights', 'weighed'),
  node('ReduceSum', 'weighed pairAxes', 'mean'),
  node('Sub', 's mean', 'deviation'),
  node('Mul', 'deviation deviation', 'square'),
  node('Mul', 'square weights', 'weighedSquare'),
  node('ReduceSum', 'weighedSquare pairAxes', 'variance'),
  node('Sqrt', 'variance', 'sigma'),
  node('Add', 'mean sigma', 'coupling'),
  node('Sub', 'one coupling', 'reward'),
];
// Inverse CDF: as many tokens as have a running sum below u come before the one drawn. The operator Multinomial takes
// half as long again, and counting in whole numbers twice as long.
const draw = [
  node('CumSum', 'p vocabAxis', 'cdf'),
  node('Less', 'cdf u', 'below'),
  node('Cast', 'below', 'one_each', { to: 1 }),
  node('ReduceSum', 'one_each vocabAxes', 'count'),
  node('Min', 'count lastToken', 'tokens'),
];
// One output for the builder's graphs: the rewards, then the tokens.
const whole = [...similarity, ...reward, ...draw, node('Concat', 'reward tokens', 'step', { axis: 1 })];

function constantsOf(N: number, V: number): Record<string, Tensor> {
  const weight = 1 / (N * (N - 1)); // for means over i ≠ j
  const weights = Float32Array.from({ length: N * N }, (_, at) => (at % (N + 1) === 0 ? 0 : weight));
  return {
    weights: float32([N, N], weights),
    one: float32([], [1]),
    pairAxes: int64([2], [1, 2]),
    vocabAxis: int64([], [2]),
    vocabAxes: int64([1], [2]),
    lastToken: float32([], [V - 1]),
  };
}

function session(
  nodes: Node[],
  inputs: Value[],
  output: Value,
  { shape, threads }: Case,
): Promise<ort.InferenceSession> {
  const named = Object.entries(constantsOf(shape[1], shape[2]));
  const constants = Object.fromEntries(named.filter(([name]) => nodes.some(({ inputs }) => inputs.includes(name))));
  const graph: Graph = { nodes, inputs, output, constants };
  return ort.InferenceSession.create(onnxFile(graph), { intraOpNumThreads: threads, graphOptimizationLevel: 'all' });
}

async function outputOf(
  session: ort.InferenceSession,
  name: string,
  feeds: ort.InferenceSession.FeedsType,
): Promise<ort.Tensor> {
  const output = (await session.run(feeds))[name];
  if (output === undefined) throw new Error(`the graph has no output ${name}`);
  return output;
}

async function prepare(run: Case): Promise<Contestant> {
  const { shape, type } = run;
  const [P, N] = shape;
  const z: Value = { name: 'z', type, dims: ['P', N, 'V'] };
  const s: Value = { name: 's', type: 'float32', dims: ['P', N, N] };
  const u: Value = { name: 'u', type: 'float32', dims: ['P', N, 1] };
  const sessions = {
    similarity: await session(similarity, [z], s, run),
    reward: await session(reward, [s], { name: 'reward', type: 'float32', dims: ['P', 1, 1] }, run),
    whole: await session(whole, [z, u], { name: 'step', type: 'float32', dims: ['P', N + 1, 1] }, run),
  };
  const feed = (logits: Logits): ort.Tensor =>
    new ort.Tensor(type, logits, [logits.length / (N * shape[2]), N, shape[2]]);
  const uniforms = (): ort.Tensor =>
    new ort.Tensor('float32', Float32Array.from({ length: P * N }, Math.random), [P, N, 1]);

  const once = async (logits: Logits): Promise<undefined> => {
    await sessions.whole.run({ z: feed(logits), u: uniforms() });
    return undefined;
  };
  return {
    once,
    // A graph's stages are not timed from within: the draw is the whole less the others.
    async step(logits) {
      const input = feed(logits);
      const start = performance.now();
      const s = await outputOf(sessions.similarity, 's', { z: input });
      const afterSimilarity = performance.now();
      const reward = await outputOf(sessions.reward, 'reward', { s });
      const afterReward = performance.now();
      await once(logits);
      const end = performance.now();
      const seconds = {
        similarity: (afterSimilarity - start) / 1e3,
        reward: (afterReward - afterSimilarity) / 1e3,
        draw: (end - afterReward - (afterReward - start)) / 1e3,
        whole: (end - afterReward) / 1e3,
      };
      return {
        seconds,
        similarity: s.data as Float32Array,
        rewards: Float64Array.from(reward.data as Float32Array),
      };
    },
  };
}

void contend({ 'ONNX Runtime': ort.env.versions.node ?? 'unknown' }, prepare);
