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

// The first j for whose running sum `reached` holds; where rounding leaves none, the last positive one.
template <class Reached>
int32_t pick(std::span<const double> weights, Reached reached) {
  double sum = 0;
  size_t last = 0;
  for (size_t j = 0; j < weights.size(); ++j) {
    sum += weights[j];
    if (reached(sum)) return static_cast<int32_t>(j);
    if (weights[j] > 0) last = j;
  }
  return static_cast<int32_t>(last);
}

int32_t pick(std::span<const double> weights, double total, double u) {
  return pick(weights, [&](double sum) { return sum > u * total; });
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
  for (; slot < ancestors.size(); ++slot) ancestors[slot] = pick(rest, left, u[slot]);
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
  const double count = static_cast<double>(e.size());
  for (size_t k = 0; k < ancestors.size(); ++k) {
    if (scheme == Scheme::multinomial) {
      ancestors[k] = pick(e, total, u[k]);
      continue;
    }
    // cum > (k + u)/K · Σ, written so that equal weights give the identity for every u: (k + u)/K · Σ rounds across it.
    const double slot = static_cast<double>(k), within = scheme == Scheme::stratified ? u[k] : u[0];
    ancestors[k] = pick(e, [&](double sum) { return sum * count / total - slot > within; });
  }
}

}  // namespace fkinv::kernels
