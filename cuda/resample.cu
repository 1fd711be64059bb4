// K4 (rewards/total.h, kernels/resample.h): the particles' totals and log-weights, the effective sample size of
// each image, ancestors, and what they hand down.
//
// total = Σ λ·r over the rewards, of several guesses the log-mean-exp; log w += total − the total before it. ESS
// = (Σ e)²/Σ e² with e_k = exp(log w_k − max). Slot k takes the first j with e_0 + … + e_j > u_k·Σ e, or as the other
// schemes have it; all sums in float64, those that choose ancestors from left to right as on the CPU.
//
// Rewards [guesses, P]; totals, weights, ancestors [P]; ESS [images]. weigh: a thread a particle. effectiveSampleSize:
// a warp an image. resample: a block of 128 threads an image, a thread a slot; the weights are e while it runs and 0
// after it. gather: a thread a word of 4 bytes where rows are whole ones, which then begin at one, else a byte. No
// shared memory.
//
// Bytes: 8 a reward of a guess and 32 a particle; gather reads and writes a row. FLOPs in float64: an exponential a
// particle in each of effectiveSampleSize and resample, and one a guess; 2·K additions a slot.
//
// Floor, computed and not measured, for P = 8 and N = 77 with what is gathered: 6 KB, under 0.01 µs on an A6000 (768
// GB/s) and on an H100 (3.35 TB/s), less than the launches take.
#include "common.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kThreads = 128;
constexpr double kNothing = -std::numeric_limits<double>::infinity();

__global__ void __launch_bounds__(kThreads) weighOf(Layout layout, int guesses, WeightedRewards rewards,
                                                    const double* previousTotals, double* totals, double* logWeights) {
  const int p = static_cast<int>(threadOfGrid());
  if (p >= layout.particles()) return;
  totals[p] = total(rewards, guesses, layout.particles(), p);
  logWeights[p] += totals[p] - previousTotals[p];
}

__global__ void __launch_bounds__(kThreads)
    effectiveSampleSizeOf(Layout layout, const double* logWeights, double* ess) {
  const int image = warpOfGrid();
  if (image >= layout.images) return;
  const double* const weights = logWeights + static_cast<int64_t>(image) * layout.perImage;
  double max = kNothing;
  for (int k = laneOf(); k < layout.perImage; k += kWarp) max = fmax(max, weights[k]);
  max = largestOfWarp(max);
  double sum = 0, squares = 0;
  for (int k = laneOf(); k < layout.perImage; k += kWarp) {
    const double e = exp(weights[k] - max);  // NaN where the weight is, and where the maximum is infinite
    sum += e;
    squares += e * e;
  }
  sum = sumOfWarp(sum);
  squares = sumOfWarp(squares);
  if (laneOf() == 0) ess[image] = sum * sum / squares;
}

__global__ void __launch_bounds__(kThreads)
    resampleOf(Layout layout, kernels::Scheme scheme, const uint64_t* seeds, uint32_t step, const uint8_t* live,
               const double* ess, double threshold, uint8_t* resampled, double* logWeights, int32_t* ancestors) {
  const int image = static_cast<int>(blockIdx.x), K = layout.perImage;
  double* const weights = logWeights + static_cast<int64_t>(image) * K;
  int32_t* const slots = ancestors + static_cast<int64_t>(image) * K;
  const auto eachSlot = [=](auto f) {
    for (int k = static_cast<int>(threadIdx.x); k < K; k += kThreads) f(k);
  };
  const bool isDue = live[image] && kernels::isDue(ess[image], threshold, K);
  if (threadIdx.x == 0) resampled[image] = isDue;
  if (!isDue) return eachSlot([=](int k) { slots[k] = k; });

  double max = weights[0];
  for (int k = 1; k < K; ++k) max = fmax(max, weights[k]);
  __syncthreads();
  eachSlot([=](int k) { weights[k] = exp(weights[k] - max); });
  __syncthreads();
  double total = 0;
  for (int k = 0; k < K; ++k) total += weights[k];
  eachSlot([=](int k) {
    const auto ofScheme = static_cast<uint32_t>(kernels::uniformSlotOf(scheme, k));
    const double u = kernels::uniforms(seeds[image], step, ofScheme, 0, kernels::Purpose::resampling).u;
    slots[k] = kernels::ancestorOf(scheme, weights, K, total, k, u);
  });
  __syncthreads();
  eachSlot([=](int k) { weights[k] = 0; });
}

template <class Word>
__global__ void __launch_bounds__(kThreads)
    gatherOf(Layout layout, const int32_t* ancestors, const Word* from, Word* to, int64_t words) {
  const int64_t at = threadOfGrid();
  if (at >= layout.particles() * words) return;
  const auto p = static_cast<int>(at / words);
  const int64_t ancestor = p / layout.perImage * layout.perImage + ancestors[p];
  to[at] = from[ancestor * words + at % words];
}

template <class Word>
cudaError_t gatherWords(const ops::Gather& op, cudaStream_t stream) {
  const auto words = static_cast<int64_t>(op.rowBytes / sizeof(Word));
  return FKINV_LAUNCH(gatherOf<Word>, blocksFor(op.layout.particles() * words, kThreads), kThreads, 0, stream,
                      op.layout, op.ancestors, static_cast<const Word*>(op.from), static_cast<Word*>(op.to), words);
}

}  // namespace

cudaError_t launch(const ops::Weigh& op, cudaStream_t stream) {
  return FKINV_LAUNCH(weighOf, blocksFor(op.layout.particles(), kThreads), kThreads, 0, stream, op.layout, op.guesses,
                      op.rewards, op.previousTotals, op.totals, op.logWeights);
}

cudaError_t launch(const ops::EffectiveSampleSize& op, cudaStream_t stream) {
  return FKINV_LAUNCH(effectiveSampleSizeOf, blocksFor(op.layout.images, kThreads / kWarp), kThreads, 0, stream,
                      op.layout, op.logWeights, op.ess);
}

cudaError_t launch(const ops::Resample& op, cudaStream_t stream) {
  return FKINV_LAUNCH(resampleOf, static_cast<unsigned>(op.layout.images), kThreads, 0, stream, op.layout, op.scheme,
                      op.seeds, op.step, op.due.live, op.due.ess, op.due.threshold, op.resampled, op.logWeights,
                      op.ancestors);
}

cudaError_t launch(const ops::Gather& op, cudaStream_t stream) {
  return op.rowBytes % sizeof(uint32_t) == 0 ? gatherWords<uint32_t>(op, stream) : gatherWords<uint8_t>(op, stream);
}

}  // namespace fkinv::cuda
