#pragma once
#include <cstdint>
#include <span>

namespace fkinv::kernels {

enum class Scheme { multinomial, stratified, residual, systematic };

/// Effective sample size (Σ e_k)²/Σ e_k² of log-weights, between 1 and K; NaN when all are −inf or any is NaN or +inf.
double effectiveSampleSize(std::span<const double> logWeights);

/// K4: ancestors of one image's K particles (algorithm.md, Resampling exactly): with e_k = exp(lw_k − max) summed left
/// to right in float64, slot k takes the first j with cum_j > u·Σ, else the last with e_j > 0. `u`: K uniforms in [0,
/// 1) (systematic reads the first only). The log-weights must have a finite effective sample size.
void resample(std::span<const double> logWeights, Scheme scheme, std::span<const double> u,
              std::span<int32_t> ancestors);

}  // namespace fkinv::kernels
