// The list of rewards that steer a call.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "clip.h"
#include "edit.h"
#include "particles/transfer.h"
#include "total.h"

namespace fkinv {

class Rewards {
 public:
  /// Throws Error "INTERNAL" for a name that is none of the engine's rewards, and where "edit" is missing: S is a part
  /// of the result.
  Rewards(const std::shared_ptr<Device>& device, Transfer& transfer, const Extents& extents,
          const ParticleOptions& options);

  /// Has each reward compute what it takes from the guesses' tokens (Reward::ofTokens).
  void ofTokens(const Guessed&);
  /// Has each reward compute what it takes from the guesses' texts (Reward::ofTexts); `given` are the values [guesses,
  /// particles] of those whose values come from the host, in the order of the list.
  void ofTexts(const Guessed&, const std::vector<std::vector<double>>& given);
  /// Has the host get the values that the device computed.
  void send(Outbox& outbox);
  /// What was sent, with what was given: the values of all of them, in the order of the list.
  std::vector<std::vector<double>> take(Outbox& outbox);
  void check(const std::vector<std::vector<double>>& values, Images&, std::vector<Failure>&) const;

  WeightedRewards weighted();
  const EditReward& edit() const { return *edit_; }
  std::size_t bytes();

 private:
  struct Member {
    double lambda;
    bool isGiven;
    std::unique_ptr<Reward> reward;
  };
  Transfer& transfer_;
  const Extents extents_;
  std::vector<Member> members_;
  const EditReward* edit_ = nullptr;
  std::vector<std::vector<double>> given_;
};

/// What they take, beforehand.
std::size_t plannedRewardBytes(const Extents&);

}  // namespace fkinv
