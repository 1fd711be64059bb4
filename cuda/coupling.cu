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

__global__ void __launch_bounds__(kThreads) countOf(Particles particles, const int32_t* tokens, const int32_t* stops,
                                                    int stopCount, bool all, uint8_t* counted) {
  const int p = warpOfGrid();
  if (p >= particles.count()) return;
  int end = particles.length;
  for (int n = laneOf(); n < particles.length && !all; n += kWarp) {
    for (int s = 0; s < stopCount; ++s) {
      if (tokens[p * particles.length + n] == stops[s]) end = min(end, n);
    }
  }
  end = smallestOfWarp(end);
  for (int n = laneOf(); n < particles.length; n += kWarp) counted[p * particles.length + n] = n < end;
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

__global__ void __launch_bounds__(kThreads) couplingOf(Particles particles, const float* grams, const int32_t* stateOf,
                                                       const uint8_t* counted, double* rewardEdit) {
  __shared__ double ofWarps[kThreads / kWarp];
  const int p = static_cast<int>(blockIdx.x), positions = particles.length;
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

cudaError_t count(const Particles& particles, const int32_t* tokens, const int32_t* stops, int stopCount, bool all,
                  uint8_t* counted, cudaStream_t stream) {
  return FKINV_LAUNCH(countOf, blocksFor(particles.count(), kThreads / kWarp), kThreads, 0, stream, particles, tokens,
                      stops, stopCount, all, counted);
}

cudaError_t coupling(const Particles& particles, const float* gram, const int32_t* stateOf, const uint8_t* counted,
                     double* rewardEdit, cudaStream_t stream) {
  return FKINV_LAUNCH(couplingOf, static_cast<unsigned>(particles.count()), kThreads, 0, stream, particles, gram,
                      stateOf, counted, rewardEdit);
}

}  // namespace fkinv::cuda
