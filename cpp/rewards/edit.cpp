#include "edit.h"

namespace fkinv {

EditReward::EditReward(const std::shared_ptr<Device>& device, Transfer& transfer, const Extents& extents,
                       const ParticleOptions& options)
    : Reward(device, extents, options), countAll_(options.countAll) {
  allocate(own_, device_, extents_);
  transfer.upload(Copied::setUp, own_.stops, options.stops);
}

void EditReward::ofTokens(const Guessed& of) {
  for (std::size_t g = 0; g < extents_.guesses; ++g) {
    const std::size_t first = g * extents_.positions();
    device_->run(ops::Count{.layout = layout_,
                            .tokens = of.tokens + first,
                            .stops = own_.stops.span(),
                            .all = countAll_,
                            .counted = own_.counted.data() + first});
    device_->run(ops::Coupling{.layout = layout_,
                               .gram = of.gram,
                               .stateOf = of.stateOf,
                               .counted = own_.counted.data() + first,
                               .rewardEdit = arrays_.values.data() + g * extents_.particles});
  }
}

}  // namespace fkinv
