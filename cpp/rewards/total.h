// The weighted sum of the rewards, for the host and for CUDA kernels alike.
#pragma once
#include <cmath>
#include <cstdint>

#include "../kernels/host_device.h"

namespace fkinv {

/// The most rewards that can steer together.
inline constexpr int kMostRewards = 16;

/// Rewards with their weights λ, as kernels take them: `values[i]` [guesses, particles] on the device.
struct WeightedRewards {
  int count = 0;
  double lambda[kMostRewards] = {};
  const double* values[kMostRewards] = {};

  /// Σ λ·r of entry `at`, summed in the order of the list.
  FKINV_HOST_DEVICE double sumAt(int64_t at) const {
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += lambda[i] * values[i][at];
    return sum;
  }
};

/// The total of `particle`: the log-mean-exp over its guesses of Σ λ·r, which of a single guess is its own.
///
/// log G_t is this minus the same of t + 1, the particle's own ancestor's, 0 before the first step: along one
/// trajectory the sum telescopes to the total of its last step.
FKINV_HOST_DEVICE inline double total(const WeightedRewards& rewards, int guesses, int particles, int particle) {
  const auto ofGuess = [&](int g) { return rewards.sumAt(static_cast<int64_t>(g) * particles + particle); };
  double max = ofGuess(0);
  if (guesses == 1) return max;
  for (int g = 1; g < guesses; ++g) max = max < ofGuess(g) ? ofGuess(g) : max;
  double sum = 0;
  for (int g = 0; g < guesses; ++g) sum += exp(ofGuess(g) - max);
  return max + log(sum / guesses);
}

}  // namespace fkinv
