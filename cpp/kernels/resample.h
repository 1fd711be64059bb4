#pragma once
#include <cmath>
#include <cstdint>
#include <span>

#include "host_device.h"

namespace fkinv::kernels {

/// How ancestors are drawn.
enum class Scheme { multinomial, stratified, residual, systematic };
inline constexpr const char* kSchemeNames[] = {"multinomial", "stratified", "residual", "systematic"};

/// Whether an image's particles are resampled: where the threshold is below 1, when fewer than threshold·K count. Not
/// where its weights are useless, ESS NaN.
FKINV_HOST_DEVICE inline bool isDue(double ess, double threshold, int perImage) {
  return ess >= 0 && (threshold >= 1 || ess < threshold * perImage);
}

/// The first j of `count` at whose running sum of weights `reached` holds; where rounding leaves none, the last
/// positive one.
template <class WeightOf, class Reached>
FKINV_HOST_DEVICE inline int32_t pick(int count, WeightOf weightOf, Reached reached) {
  double sum = 0;
  int32_t last = 0;
  for (int32_t j = 0; j < count; ++j) {
    const double weight = weightOf(j);
    sum += weight;
    if (reached(sum)) return j;
    if (weight > 0) last = j;
  }
  return last;
}

/// The slot whose uniform draws the ancestor of `slot`.
FKINV_HOST_DEVICE inline int uniformSlotOf(Scheme scheme, int slot) { return scheme == Scheme::systematic ? 0 : slot; }

/// The ancestor of one slot, of `count` particles with weights e that sum to `total`, by the uniform of the slot
/// (uniformSlotOf). A scheme is what stands here, for the CPU and for CUDA.
FKINV_HOST_DEVICE inline int32_t ancestorOf(Scheme scheme, const double* e, int count, double total, int slot,
                                            double u) {
  const auto weightOf = [=](int j) { return e[j]; };
  if (scheme == Scheme::multinomial) return pick(count, weightOf, [=](double sum) { return sum > u * total; });
  if (scheme == Scheme::residual) {
    // ⌊K·e_j/Σ⌋ copies in order of j, then by what is left of these expectations.
    const auto expectedOf = [=](int j) { return static_cast<double>(count) * e[j] / total; };
    const auto restOf = [=](int j) { return expectedOf(j) - floor(expectedOf(j)); };
    double copies = 0, left = 0;
    for (int32_t j = 0; j < count; ++j) {
      copies += floor(expectedOf(j));
      if (copies > slot) return j;
      left += restOf(j);
    }
    return pick(count, restOf, [=](double sum) { return sum > u * left; });
  }
  // cum > (k + u)/K · Σ, written so that equal weights give the identity for every u: (k + u)/K · Σ rounds across it.
  return pick(count, weightOf, [=](double sum) { return sum * count / total - slot > u; });
}

/// Effective sample size (Σ e_k)²/Σ e_k² of log-weights, between 1 and K; NaN when all are −inf or any is NaN or +inf.
double effectiveSampleSize(std::span<const double> logWeights);

/// K4: ancestors of one image's K particles (algorithm.md, Resampling exactly): with e_k = exp(lw_k − max) summed left
/// to right in float64, slot k takes the first j with cum_j > u·Σ, else the last with e_j > 0. `u`: K uniforms in [0,
/// 1) (systematic reads the first only). The log-weights must have a finite effective sample size.
void resample(std::span<const double> logWeights, Scheme scheme, std::span<const double> u,
              std::span<int32_t> ancestors);

}  // namespace fkinv::kernels
