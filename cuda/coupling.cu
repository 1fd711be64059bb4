// K2b (kernels/coupling.h): the positions before the first stop token count; over the pairs i < j of those, μ = mean
// S_ij, σ² = mean (S_ij − μ)², r_edit = 1 − (μ + σ).
//
// tokens, counted [P, N], S [Q, N, N], r_edit [P]. count: a warp a particle, four a block, no shared memory. coupling:
// a block of 128 threads a particle, thread j for column j of S, sums in float64 and in a fixed order; 32 bytes of
// shared memory.
//
// Bytes a particle: the upper triangle of S, 2·N², once from memory and once more from the cache, and 6·N. FLOPs: 4 in
// float64 a pair.
//
// Floor, computed and not measured, for N = 77 and P = 8, each of its own state: 0.1 MB, 0.13 µs on an A6000 (768 GB/s)
// and 0.03 µs on an H100 (3.35 TB/s), less than a launch takes.
#include "common.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    countOf(Layout layout, const int32_t* tokens, const int32_t* stops, int stopCount, bool all, uint8_t* counted) {
  const int p = warpOfGrid();
  if (p >= layout.particles()) return;
  int end = layout.length;
  for (int n = laneOf(); n < layout.length && !all; n += kWarp) {
    for (int s = 0; s < stopCount; ++s) {
      if (tokens[p * layout.length + n] == stops[s]) end = min(end, n);
    }
  }
  end = smallestOfWarp(end);
  for (int n = laneOf(); n < layout.length; n += kWarp) counted[p * layout.length + n] = n < end;
}

// Σ f(S_ij) over the counted pairs i < j, on all threads.
template <class F>
__device__ double sumOfPairs(const float* gram, const uint8_t* counted, int positions, double* ofWarps, F f) {
  double sum = 0;
  for (int j = static_cast<int>(threadIdx.x); j < positions; j += kThreads) {
    if (!counted[j]) continue;
    for (int i = 0; i < j; ++i) {
      if (counted[i]) sum += f(static_cast<double>(gram[i * positions + j]));
    }
  }
  return sumOfBlock(sum, ofWarps);
}

__global__ void __launch_bounds__(kThreads)
    couplingOf(Layout layout, const float* grams, const int32_t* stateOf, const uint8_t* counted, double* rewardEdit) {
  __shared__ double ofWarps[kThreads / kWarp];
  const int p = static_cast<int>(blockIdx.x), positions = layout.length;
  const float* const gram = grams + static_cast<int64_t>(stateOf[p]) * positions * positions;
  counted += p * positions;
  const double pairs = sumOfPairs(gram, counted, positions, ofWarps, [](double) { return 1.0; });
  const double sum = sumOfPairs(gram, counted, positions, ofWarps, [](double s) { return s; });
  const double mean = pairs > 0 ? sum / pairs : 0;
  const double squares =
      sumOfPairs(gram, counted, positions, ofWarps, [=](double s) { return (s - mean) * (s - mean); });
  const double variance = pairs > 0 ? squares / pairs : 0;
  if (threadIdx.x == 0) rewardEdit[p] = 1 - (mean + sqrt(variance));
}

}  // namespace

cudaError_t launch(const ops::Count& op, cudaStream_t stream) {
  return FKINV_LAUNCH(countOf, blocksFor(op.layout.particles(), kThreads / kWarp), kThreads, 0, stream, op.layout,
                      op.tokens, op.stops.data(), static_cast<int>(op.stops.size()), op.all, op.counted);
}

cudaError_t launch(const ops::Coupling& op, cudaStream_t stream) {
  return FKINV_LAUNCH(couplingOf, static_cast<unsigned>(op.layout.particles()), kThreads, 0, stream, op.layout, op.gram,
                      op.stateOf, op.counted, op.rewardEdit);
}

}  // namespace fkinv::cuda
