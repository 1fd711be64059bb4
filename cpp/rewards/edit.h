// r_edit = 1 − (μ + σ) of S over the pairs of counted positions: how little a guess's words lean on one another.
#pragma once
#include "particles/transfer.h"
#include "reward.h"

namespace fkinv {

class EditReward final : public Reward {
 public:
  struct OwnArrays {
    Array<uint8_t> counted;  // [guesses, particles, length]
    Array<int32_t> stops;

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      visit(counted, e.guesses * e.positions());
      visit(stops, e.stops);
    }
  };

  EditReward(const std::shared_ptr<Device>& device, Transfer& transfer, const Extents& extents,
             const ParticleOptions& options);
  void ofTokens(const Guessed&) override;
  /// Which positions of each guess's text count.
  const Array<uint8_t>& counted() const { return own_.counted; }
  std::size_t bytes() override { return Reward::bytes() + heldBytes(own_, extents_); }

 private:
  const bool countAll_;
  OwnArrays own_;
};

}  // namespace fkinv
