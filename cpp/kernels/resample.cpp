#include "resample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace fkinv::kernels {
namespace {

// e_k = exp(lw_k − max). NaN weights give a NaN maximum, hence NaN throughout.
std::vector<double> exponentials(std::span<const double> logWeights) {
  double max = -std::numeric_limits<double>::infinity();
  for (double w : logWeights) max = w > max || std::isnan(w) ? w : max;
  std::vector<double> e(logWeights.size());
  std::transform(logWeights.begin(), logWeights.end(), e.begin(), [&](double w) { return std::exp(w - max); });
  return e;
}

}  // namespace

double effectiveSampleSize(std::span<const double> logWeights) {
  double sum = 0, squares = 0;
  for (double e : exponentials(logWeights)) {
    sum += e;
    squares += e * e;
  }
  return sum * sum / squares;
}

void resample(std::span<const double> logWeights, Scheme scheme, std::span<const double> u,
              std::span<int32_t> ancestors) {
  const std::vector<double> e = exponentials(logWeights);
  const double total = std::accumulate(e.begin(), e.end(), 0.0);
  for (std::size_t k = 0; k < ancestors.size(); ++k) {
    const auto slot = static_cast<int>(k);
    const double uniform = u[static_cast<std::size_t>(uniformSlotOf(scheme, slot))];
    ancestors[k] = ancestorOf(scheme, e.data(), static_cast<int>(e.size()), total, slot, uniform);
  }
}

}  // namespace fkinv::kernels
