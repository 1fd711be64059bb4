#pragma once
#include "rewards/total.h"

namespace fkinv::kernels {

/// Of each particle its total (rewards/total.h), and log G_t, the difference to the total before it, onto its
/// log-weight. `previousTotal`, `totals`, `logWeights`: [particles].
void weigh(const WeightedRewards& rewards, int guesses, int particles, const double* previousTotal, double* totals,
           double* logWeights);

}  // namespace fkinv::kernels
