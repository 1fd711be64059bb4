#include "resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu.h"

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

template <class T>
std::span<T> ofImage(const Layout& layout, T* values, int image) {
  return {values + static_cast<int64_t>(image) * layout.perImage, static_cast<size_t>(layout.perImage)};
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

void run(const ops::EffectiveSampleSize& op, const Cpu&) {
  for (int b = 0; b < op.layout.images; ++b) op.ess[b] = effectiveSampleSize(ofImage(op.layout, op.logWeights, b));
}

void run(const ops::Resample& op, const Cpu&) {
  const Layout& layout = op.layout;
  std::vector<double> u(static_cast<size_t>(layout.perImage));
  for (int b = 0; b < layout.images; ++b) {
    const std::span<double> weights = ofImage(layout, op.logWeights, b);
    const std::span<int32_t> slots = ofImage(layout, op.ancestors, b);
    op.resampled[b] = op.due.live[b] && isDue(op.due.ess[b], op.due.threshold, layout.perImage);
    if (!op.resampled[b]) {
      std::iota(slots.begin(), slots.end(), 0);
      continue;
    }
    for (size_t k = 0; k < u.size(); ++k) {
      u[k] = uniforms(op.seeds[b], op.step, static_cast<uint32_t>(k), 0, Purpose::resampling).u;
    }
    resample(weights, op.scheme, u, slots);
    std::fill(weights.begin(), weights.end(), 0.0);
  }
}

void run(const ops::Gather& op, const Cpu&) {
  for (int p = 0; p < op.layout.particles(); ++p) {
    const int firstOfImage = p / op.layout.perImage * op.layout.perImage;
    const auto ancestor = static_cast<size_t>(firstOfImage) + static_cast<size_t>(op.ancestors[p]);
    std::memcpy(static_cast<char*>(op.to) + static_cast<size_t>(p) * op.rowBytes,
                static_cast<const char*>(op.from) + ancestor * op.rowBytes, op.rowBytes);
  }
}

}  // namespace fkinv::kernels
