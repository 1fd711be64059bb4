#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "../rewards/total.h"
#include "cost.h"

namespace fkinv::ops {

/// K4: the totals of the rewards (rewards/total.h), and what each is more than the particle's before it, log G_t, onto
/// its log-weight.
struct Weigh {
  static constexpr const char* kName = "weigh";

  kernels::Layout layout;
  int guesses;
  WeightedRewards rewards;
  const double* previousTotals;  // [particles]
  double* totals;                // [particles]
  double* logWeights;            // [particles]

  /// Each reward of each guess, and an exponential a guess where there are several.
  Cost cost() const {
    const int64_t particles = layout.particles(), all = guesses * particles;
    const int64_t exponentials = guesses == 1 ? 0 : kExponential * all;
    return {(rewards.count * all + 2 * particles) * kDouble,
            (2 * rewards.count - 1) * all + 2 * particles + exponentials};
  }
};

}  // namespace fkinv::ops
