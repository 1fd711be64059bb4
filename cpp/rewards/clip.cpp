#include "clip.h"

#include <cmath>

namespace fkinv {

void ClipReward::ofTexts(const Guessed& of) {
  for (std::size_t g = 0; g < extents_.guesses; ++g) {
    device_->run(ops::Cosine{.layout = layout_,
                             .texts = of.texts,
                             .textOf = of.textOf + g * extents_.particles,
                             .images = of.images,
                             .size = static_cast<int>(extents_.embedSize),
                             .rewardClip = arrays_.values.data() + g * extents_.particles});
  }
}

void ClipReward::check(const std::vector<double>& values, Images& images, std::vector<Failure>& failures) const {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    const std::size_t particle = i % extents_.particles;
    const std::string slot = std::to_string(particle % static_cast<std::size_t>(layout_.perImage));
    images.fail(images.imageOf(particle),
                Error("INVALID_EMBEDDING", "CLIP's embedding of particle " + slot +
                                               "'s text is zero or not finite: check the model's export"),
                failures);
  }
}

}  // namespace fkinv
