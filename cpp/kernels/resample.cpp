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

void residual(std::span<const double> e, double total, std::span<const double> u, std::span<int32_t> ancestors) {
  const double count = static_cast<double>(e.size());
  std::vector<double> rest(e.size());
  size_t slot = 0;
  for (size_t k = 0; k < e.size(); ++k) {
    const double expected = count * e[k] / total, copies = std::floor(expected);
    rest[k] = expected - copies;
    for (double c = 0; c < copies && slot < ancestors.size(); ++c) ancestors[slot++] = static_cast<int32_t>(k);
  }
  const double left = std::accumulate(rest.begin(), rest.end(), 0.0);
  for (; slot < ancestors.size(); ++slot) {
    ancestors[slot] = pick(
        static_cast<int>(rest.size()), [&](int j) { return rest[static_cast<size_t>(j)]; },
        [&](double sum) { return sum > u[slot] * left; });
  }
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
  if (scheme == Scheme::residual) return residual(e, total, u, ancestors);
  for (size_t k = 0; k < ancestors.size(); ++k) {
    ancestors[k] = ancestorOf(scheme, e.data(), static_cast<int>(e.size()), total, static_cast<int>(k),
                              scheme == Scheme::systematic ? u[0] : u[k]);
  }
}

}  // namespace fkinv::kernels
