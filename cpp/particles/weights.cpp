#include "weights.h"

#include <cmath>

namespace fkinv {

Weights::Weights(std::shared_ptr<Device> device, Transfer& transfer, Images& images, const Extents& extents,
                 const ParticleOptions& options)
    : device_(std::move(device)), images_(images), extents_(extents), options_(options), layout_(options.layout) {
  allocate(arrays_, device_, extents_);
  const std::vector<double> zeros(extents_.particles, 0.0);
  for (auto* values : {&arrays_.total, &arrays_.previousTotal, &arrays_.logWeights, &arrays_.logProb, &arrays_.spare}) {
    transfer.upload(Copied::setUp, *values, zeros);
  }
}

void Weights::weigh(const WeightedRewards& rewards) {
  device_->run(ops::Weigh{.layout = layout_,
                          .guesses = options_.guesses,
                          .rewards = rewards,
                          .previousTotals = arrays_.previousTotal.data(),
                          .totals = arrays_.total.data(),
                          .logWeights = arrays_.logWeights.data()});
  std::swap(arrays_.total, arrays_.previousTotal);
  device_->run(
      ops::EffectiveSampleSize{.layout = layout_, .logWeights = arrays_.logWeights.data(), .ess = arrays_.ess.data()});
}

void Weights::resample(int step) {
  device_->run(ops::Resample{.layout = layout_,
                             .scheme = options_.scheme,
                             .seeds = images_.seeds(),
                             .step = static_cast<uint32_t>(step),
                             .due = {images_.live(), arrays_.ess.data(), options_.essThreshold},
                             .resampled = arrays_.resampled.data(),
                             .logWeights = arrays_.logWeights.data(),
                             .ancestors = arrays_.ancestors.data()});
  for (auto* values : {&arrays_.previousTotal, &arrays_.logProb}) {
    device_->run(ops::Gather{.layout = layout_,
                             .ancestors = arrays_.ancestors.data(),
                             .from = values->data(),
                             .to = arrays_.spare.data(),
                             .rowBytes = sizeof(double)});
    std::swap(*values, arrays_.spare);
  }
}

void Weights::check(const std::vector<double>& ess, Images& images, std::vector<Failure>& failures) {
  for (std::size_t b = 0; b < ess.size(); ++b) {
    if (std::isfinite(ess[b])) continue;
    images.fail(
        static_cast<int>(b),
        Error("DEGENERATE_WEIGHTS", "no particle has a finite weight: lambdaClip or lambdaEdit may be too large"),
        failures);
  }
}

}  // namespace fkinv
