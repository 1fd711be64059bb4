// r_CLIP = cos(f_I(image), f_T(text)): how near a guess's text is to the image for CLIP.
#pragma once
#include "reward.h"

namespace fkinv {

class ClipReward final : public Reward {
 public:
  using Reward::Reward;
  void ofTexts(const Guessed&) override;
  void check(const std::vector<double>& values, Images&, std::vector<Failure>&) const override;
};

}  // namespace fkinv
