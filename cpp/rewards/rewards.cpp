#include "rewards.h"

#include <utility>

namespace fkinv {

Rewards::Rewards(const std::shared_ptr<Device>& device, Transfer& transfer, const Extents& extents,
                 const ParticleOptions& options)
    : transfer_(transfer), extents_(extents) {
  if (options.rewards.size() > kMostRewards) {
    throw Error("INTERNAL", "there are more than " + std::to_string(kMostRewards) + " rewards");
  }
  for (const auto& [name, lambda, isGiven] : options.rewards) {
    Member member = {lambda, isGiven, nullptr};
    if (isGiven) {
      member.reward = std::make_unique<Reward>(device, extents, options);
    } else if (name == "clip") {
      member.reward = std::make_unique<ClipReward>(device, extents, options);
    } else if (name == "edit") {
      auto edit = std::make_unique<EditReward>(device, transfer, extents, options);
      edit_ = edit.get();
      member.reward = std::move(edit);
    } else {
      throw Error("INTERNAL", "the engine has no reward \"" + name + "\"");
    }
    members_.push_back(std::move(member));
  }
  if (edit_ == nullptr) throw Error("INTERNAL", "the list of rewards is without \"edit\"");
}

void Rewards::ofTokens(const Guessed& of) {
  for (const Member& member : members_) member.reward->ofTokens(of);
}

void Rewards::ofTexts(const Guessed& of, const std::vector<std::vector<double>>& given) {
  given_ = given;
  auto next = given_.begin();
  for (const Member& member : members_) {
    if (member.isGiven) {
      transfer_.upload(Copied::rewards, member.reward->values(), *next++);
    } else {
      member.reward->ofTexts(of);
    }
  }
}

void Rewards::send(Outbox& outbox) {
  for (const Member& member : members_) {
    if (!member.isGiven) outbox.send(member.reward->values());
  }
}

std::vector<std::vector<double>> Rewards::take(Outbox& outbox) {
  std::vector<std::vector<double>> values;
  auto next = given_.begin();
  for (const Member& member : members_) {
    values.push_back(member.isGiven ? std::move(*next++) : outbox.take(Copied::rewards, member.reward->values()));
  }
  return values;
}

void Rewards::check(const std::vector<std::vector<double>>& values, Images& images,
                    std::vector<Failure>& failures) const {
  for (std::size_t i = 0; i < members_.size(); ++i) members_[i].reward->check(values[i], images, failures);
}

WeightedRewards Rewards::weighted() {
  WeightedRewards weighted;
  for (const Member& member : members_) {
    weighted.lambda[weighted.count] = member.lambda;
    weighted.values[weighted.count++] = member.reward->values().data();
  }
  return weighted;
}

std::size_t Rewards::bytes() {
  std::size_t sum = 0;
  for (const Member& member : members_) sum += member.reward->bytes();
  return sum;
}

std::size_t plannedRewardBytes(const Extents& extents) {
  return extents.rewards * plannedBytes<Reward::Arrays>(extents) + plannedBytes<EditReward::OwnArrays>(extents);
}

}  // namespace fkinv
