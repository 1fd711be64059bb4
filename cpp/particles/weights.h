// Weights and ancestors, steps 5 and 6.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>

#include "extents.h"
#include "images.h"
#include "rewards/total.h"
#include "transfer.h"

namespace fkinv {

class Weights {
 public:
  struct Arrays {
    Array<double> total, previousTotal, logWeights, logProb, spare;  // [particles]
    Array<int32_t> ancestors;                                        // [particles] slots within the image
    Array<double> ess;                                               // [images]
    Array<uint8_t> resampled;                                        // [images]

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      for (auto* values : {&total, &previousTotal, &logWeights, &logProb, &spare}) visit(*values, e.particles);
      visit(ancestors, e.particles);
      visit(ess, e.images);
      visit(resampled, e.images);
    }
  };

  Weights(std::shared_ptr<Device> device, Transfer& transfer, Images& images, const Extents& extents,
          const ParticleOptions& options);

  /// Step 5: log G_t onto the log-weights, and the effective sample sizes.
  void weigh(const WeightedRewards& rewards);
  /// Step 6: ancestors of each image that is due; what the weights know of a particle follows its ancestor.
  void resample(int step);
  /// Fails the images whose weights are useless, ESS NaN.
  static void check(const std::vector<double>& ess, Images&, std::vector<Failure>&);

  const Array<double>& logWeights() const { return arrays_.logWeights; }
  const Array<double>& ess() const { return arrays_.ess; }
  const Array<int32_t>& ancestors() const { return arrays_.ancestors; }
  const Array<uint8_t>& resampled() const { return arrays_.resampled; }
  /// Σ log p of the tokens along each trajectory.
  const Array<double>& logProb() const { return arrays_.logProb; }
  /// Where a proposal adds its log-probabilities and importance weights.
  double* logProbData() { return arrays_.logProb.data(); }
  double* logWeightsData() { return arrays_.logWeights.data(); }
  std::size_t bytes() { return heldBytes(arrays_, extents_); }

 private:
  const std::shared_ptr<Device> device_;
  Images& images_;
  const Extents extents_;
  const ParticleOptions& options_;
  const Layout layout_;
  Arrays arrays_;
};

}  // namespace fkinv
