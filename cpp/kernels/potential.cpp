#include "potential.h"

namespace fkinv::kernels {

void weigh(const WeightedRewards& rewards, int guesses, int particles, const double* previousTotal, double* totals,
           double* logWeights) {
  for (int p = 0; p < particles; ++p) {
    totals[p] = total(rewards, guesses, particles, p);
    logWeights[p] += totals[p] - previousTotal[p];
  }
}

}  // namespace fkinv::kernels
