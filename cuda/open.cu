// Which positions open (kernels/open.h), and what their tokens do to the particles (cpp/ops): masked, exclude,
// open, score, choose, place and accept. The margin is p₁ − p₂ of the row's two largest probabilities 2^(z·log2e −
// m)/L.
//
// All arrays are [P, N], but sums and weights of particles [P], live and seeds [images]. A thread a position; for
// margin a warp a position; choose: a block a particle and a thread a position, which counts those before it; accept: a
// warp a particle, sums in float64 and in a fixed order. Blocks of 128 threads; choose has 1.2 KB of shared memory.
//
// Bytes a position: 6 to 30; of margin 4·⌈V/1024⌉ of the table and a tile of logits, 2 to 4 KB. FLOPs: 100 integer
// operations of Philox in open, N comparisons in choose, else a few.
//
// Floors, computed and not measured, for N = 77, V = 126464, float16 and P = 8 (616 positions): of margin 1.6 MB, 2.1
// µs on an A6000 (768 GB/s) and 0.5 µs on an H100 (3.35 TB/s); of the others under 0.1 µs, less than a launch takes.
#include "common.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kThreads = 128;
static_assert(kThreads >= kMaxPositions, "choose has a thread for each position");

__global__ void __launch_bounds__(kThreads) maskedAt(Layout layout, const uint8_t* live, int32_t maskId,
                                                     const int32_t* tokens, int first, int last, uint8_t* wanted) {
  const int at = static_cast<int>(threadOfGrid());
  if (at >= layout.positions()) return;
  const int p = at / layout.length, n = at % layout.length;
  wanted[at] = live[p / layout.perImage] && n >= first && n < last && tokens[at] == maskId;
}

__global__ void __launch_bounds__(kThreads)
    excludeAt(Layout layout, const int32_t* stateOf, const kernels::RowFault* faults, uint8_t* wanted,
              int32_t* tokens) {
  const int at = static_cast<int>(threadOfGrid());
  if (at >= layout.positions()) return;
  const int p = at / layout.length, n = at % layout.length;
  const kernels::RowFault fault = faults[static_cast<int64_t>(stateOf[p]) * layout.length + n];
  if (fault == kernels::RowFault::none) return;
  wanted[at] = 0;
  tokens[at] = -1 - static_cast<int32_t>(fault);
}

__global__ void __launch_bounds__(kThreads) openAt(Layout layout, const uint64_t* seeds, uint32_t step, int stepOfBlock,
                                                   int stepsOfBlock, const uint8_t* wanted, uint8_t* opened) {
  const int at = static_cast<int>(threadOfGrid());
  if (at >= layout.positions()) return;
  const int p = at / layout.length, n = at % layout.length;
  const double u = kernels::uniforms(seeds[p / layout.perImage], step, static_cast<uint32_t>(p % layout.perImage),
                                     static_cast<uint32_t>(n), kernels::Purpose::opening)
                       .u;
  opened[at] = wanted[at] && kernels::opens(stepOfBlock, stepsOfBlock, u);
}

__global__ void __launch_bounds__(kThreads)
    confidenceAt(Layout layout, const uint8_t* wanted, const double* logModel, double* scores) {
  const int at = static_cast<int>(threadOfGrid());
  if (at < layout.positions() && wanted[at]) scores[at] = logModel[at];
}

__global__ void __launch_bounds__(kThreads)
    certaintyAt(Layout layout, const float* entropy, const int32_t* stateOf, const uint8_t* wanted, double* scores) {
  const int at = static_cast<int>(threadOfGrid());
  if (at >= layout.positions() || !wanted[at]) return;
  const int p = at / layout.length, n = at % layout.length;
  scores[at] = -static_cast<double>(entropy[static_cast<int64_t>(stateOf[p]) * layout.length + n]);
}

// The second largest of row `r`: the larger of the second in the first tile that has the largest and the other tiles'
// maxima. The largest itself where two have it.
template <class Element>
__device__ float second(const Logits& z, const float* maxima, int64_t r, float largest) {
  const int winner = firstTileOf(maxima, z.tiles(), largest);
  float best = kMinusInfinity;
  for (int tile = laneOf(); tile < z.tiles(); tile += kWarp) {
    if (tile != winner) best = fmaxf(best, maxima[tile]);
  }
  const Element* const logits = rowOf<Element>(z, r) + winner * kTile;
  int equal = 0;
  for (int c = laneOf(); c < tileWidth(z, winner); c += kWarp) {
    const float value = widen(logits[c]);
    if (value == largest) {
      ++equal;
    } else {
      best = fmaxf(best, value);
    }
  }
  return sumOfWarp(equal) > 1 ? largest : largestOfWarp(best);
}

template <class Element>
__global__ void __launch_bounds__(kThreads) marginAt(Logits z, const float* maxima, RowStats rows, Layout layout,
                                                     const int32_t* stateOf, const uint8_t* wanted, double* scores) {
  const int at = warpOfGrid();
  if (at >= layout.positions() || !wanted[at]) return;
  const int64_t r = static_cast<int64_t>(stateOf[at / layout.length]) * layout.length + at % layout.length;
  const float largest = rows.max[r], next = second<Element>(z, maxima + r * z.tiles(), r, largest);
  if (laneOf() != 0) return;
  const auto weight = [&](float logit) { return exp2(static_cast<double>(logit) * kLog2e - rows.exponent[r]); };
  scores[at] = (weight(largest) - weight(next)) / rows.mass[r];
}

__global__ void __launch_bounds__(kThreads)
    chooseOf(Layout layout, const double* scores, const uint8_t* wanted, int count, uint8_t* opened) {
  __shared__ double score[kMaxPositions];
  __shared__ bool isWanted[kMaxPositions];
  const int n = static_cast<int>(threadIdx.x);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * layout.length + n;
  if (n < layout.length) {
    isWanted[n] = wanted[at] != 0;
    score[n] = isWanted[n] ? scores[at] : 0;
  }
  __syncthreads();
  if (n >= layout.length) return;
  int before = 0;
  for (int other = 0; other < layout.length; ++other) {
    const bool isFirst = other < n ? !(score[other] < score[n]) : score[other] > score[n];
    if (isWanted[other] && isFirst) ++before;
  }
  opened[at] = isWanted[n] && before < count;
}

__global__ void __launch_bounds__(kThreads)
    placeAt(Layout layout, const uint8_t* opened, const int32_t* drawn, int32_t* tokens) {
  const int at = static_cast<int>(threadOfGrid());
  if (at < layout.positions() && opened[at]) tokens[at] = drawn[at];
}

__global__ void __launch_bounds__(kThreads)
    acceptOf(Layout layout, const uint8_t* opened, const uint8_t* drawn, const double* logModel,
             const double* logProposal, double* logProb, double* logWeights) {
  const int p = warpOfGrid();
  if (p >= layout.particles()) return;
  double ofTokens = 0, weight = 0;
  for (int n = laneOf(); n < layout.length; n += kWarp) {
    const int at = p * layout.length + n;
    if (opened[at]) ofTokens += logModel[at];
    if (drawn[at]) weight += logModel[at] - logProposal[at];
  }
  ofTokens = sumOfWarp(ofTokens);
  weight = sumOfWarp(weight);
  if (laneOf() != 0) return;
  logProb[p] += ofTokens;
  logWeights[p] += weight;
}

}  // namespace

cudaError_t launch(const ops::Masked& op, cudaStream_t stream) {
  return FKINV_LAUNCH(maskedAt, blocksFor(op.layout.positions(), kThreads), kThreads, 0, stream, op.layout, op.live,
                      op.maskId, op.tokens, op.first, op.last, op.wanted);
}

cudaError_t launch(const ops::Exclude& op, cudaStream_t stream) {
  return FKINV_LAUNCH(excludeAt, blocksFor(op.layout.positions(), kThreads), kThreads, 0, stream, op.layout, op.stateOf,
                      op.faults, op.wanted, op.tokens);
}

cudaError_t launch(const ops::Open& op, cudaStream_t stream) {
  return FKINV_LAUNCH(openAt, blocksFor(op.layout.positions(), kThreads), kThreads, 0, stream, op.layout, op.seeds,
                      op.step, op.block.step, op.block.steps, op.wanted, op.opened);
}

cudaError_t launch(const ops::Score& op, cudaStream_t stream) {
  const int positions = op.layout.positions();
  const unsigned blocks = blocksFor(positions, kThreads);
  if (op.order == kernels::Order::confidence) {
    return FKINV_LAUNCH(confidenceAt, blocks, kThreads, 0, stream, op.layout, op.wanted, op.logModel, op.scores);
  }
  if (op.order == kernels::Order::entropy) {
    return FKINV_LAUNCH(certaintyAt, blocks, kThreads, 0, stream, op.layout, op.rows.entropy, op.stateOf, op.wanted,
                        op.scores);
  }
  return withElement(op.z.type, [&](auto element) {
    return FKINV_LAUNCH(marginAt<decltype(element)>, blocksFor(positions, kThreads / kWarp), kThreads, 0, stream, op.z,
                        op.tiles.max, op.rows, op.layout, op.stateOf, op.wanted, op.scores);
  });
}

cudaError_t launch(const ops::Choose& op, cudaStream_t stream) {
  return FKINV_LAUNCH(chooseOf, static_cast<unsigned>(op.layout.particles()), kThreads, 0, stream, op.layout, op.scores,
                      op.wanted, op.count, op.opened);
}

cudaError_t launch(const ops::Place& op, cudaStream_t stream) {
  return FKINV_LAUNCH(placeAt, blocksFor(op.layout.positions(), kThreads), kThreads, 0, stream, op.layout, op.opened,
                      op.drawn, op.tokens);
}

cudaError_t launch(const ops::Accept& op, cudaStream_t stream) {
  return FKINV_LAUNCH(acceptOf, blocksFor(op.layout.particles(), kThreads / kWarp), kThreads, 0, stream, op.layout,
                      op.opened, op.drawn, op.logModel, op.logProposal, op.logProb, op.logWeights);
}

}  // namespace fkinv::cuda
