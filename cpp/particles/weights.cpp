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
  device_->weigh(layout_, options_.guesses, rewards, arrays_.previousTotal.data(), arrays_.total.data(),
                 arrays_.logWeights.data());
  std::swap(arrays_.total, arrays_.previousTotal);
  device_->effectiveSampleSize(layout_, arrays_.logWeights.data(), arrays_.ess.data());
}

void Weights::resample(int step) {
  device_->resample(layout_, options_.scheme, images_.seeds(), static_cast<uint32_t>(step),
                    {images_.live(), arrays_.ess.data(), options_.essThreshold}, arrays_.resampled.data(),
                    arrays_.logWeights.data(), arrays_.ancestors.data());
  for (auto* values : {&arrays_.previousTotal, &arrays_.logProb}) {
    device_->gather(layout_, arrays_.ancestors.data(), values->data(), arrays_.spare.data(), sizeof(double));
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
