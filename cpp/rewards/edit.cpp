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
    device_->count(layout_, of.tokens + first, own_.stops.span(), countAll_, own_.counted.data() + first);
    device_->coupling(layout_, of.gram, of.stateOf, own_.counted.data() + first,
                      arrays_.values.data() + g * extents_.particles);
  }
}

}  // namespace fkinv
