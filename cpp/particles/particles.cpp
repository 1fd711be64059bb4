#include "particles.h"

#include <utility>

namespace fkinv {

Particles::Particles(std::shared_ptr<Device> device, const DllmGraph& dllm, const TextGraph& text,
                     std::vector<Reference> references, int embedSize, ParticleOptions options,
                     std::vector<Features> conditions)
    : device_(std::move(device)),
      options_(std::move(options)),
      extents_(extentsOf(*device_, dllm, embedSize, options_)),
      transfer_(device_),
      images_(device_, transfer_, extents_, options_, std::move(references), std::move(conditions)),
      states_(device_, transfer_, images_, extents_, dllm, options_),
      texts_(device_, transfer_, images_, extents_, text),
      proposal_(device_, transfer_, images_, states_, extents_, options_),
      rewards_(device_, transfer_, extents_, options_),
      weights_(device_, transfer_, images_, extents_, options_),
      outbox_(transfer_, outcomeBytes(extents_)) {}

Particles::Denoised Particles::denoise(CancelToken& cancel) {
  Denoised result = {};
  {
    const auto timer = time(StageId::denoise);
    if (!std::exchange(isPrepared_, true)) images_.prepare(states_.conditionSize(), result.failures);
    const std::vector<int32_t>& tokens = proposal_.hostTokens();
    result.states = states_.find(tokens);
    result.forwards = states_.run(tokens, cancel, result.failures);
  }
  const auto timer = time(StageId::pass);
  states_.read();
  return result;
}

Particles::Guesses Particles::guess(int step) {
  Guesses guesses;
  {
    const auto timer = time(StageId::guess);
    guesses.tokens = proposal_.drawGuesses(step);
  }
  rewardTokens();
  states_.checkRows(guesses.tokens, guesses.failures);
  return guesses;
}

Guessed Particles::guessed() const {
  return {.tokens = proposal_.guess().data(),
          .stateOf = states_.stateOf().data(),
          .gram = states_.gram(),
          .texts = texts_.embeddings(),
          .textOf = texts_.textOf().data(),
          .images = images_.embeds()};
}

void Particles::rewardTokens() {
  const auto timer = time(StageId::reward);
  rewards_.ofTokens(guessed());
  isRewarded_ = true;
}

Particles::Outcome Particles::advance(int step, const TextBatch& texts, const std::vector<std::vector<double>>& given,
                                      CancelToken& cancel) {
  std::vector<Failure> failures;
  {
    const auto timer = time(StageId::encodeText);
    texts_.encode(texts, cancel, failures);
  }
  images_.uploadLive();
  if (!isRewarded_) rewardTokens();
  {
    const auto timer = time(StageId::reward);
    texts_.uploadPlaces();
    rewards_.ofTexts(guessed(), given);
    rewards_.send(outbox_);
  }
  const bool isLast = step == options_.steps;
  {
    const auto timer = time(StageId::resample);
    weights_.weigh(rewards_.weighted());
    outbox_.send(weights_.logWeights());
    outbox_.send(weights_.ess());
  }
  if (!isLast) {
    {
      const auto timer = time(StageId::resample);
      weights_.resample(step);
      proposal_.follow(weights_.ancestors().data());
      states_.follow(weights_.ancestors().data());
      outbox_.send(weights_.ancestors());
      outbox_.send(weights_.resampled());
    }
    const auto timer = time(StageId::propose);
    proposal_.propose(step);
    outbox_.send(proposal_.tokens());
  }
  Outcome outcome = takeOutcome(isLast);
  rewards_.check(outcome.weighed.rewards, images_, failures);
  Weights::check(outcome.weighed.ess, images_, failures);
  outcome.weighed.failures = std::move(failures);
  return outcome;
}

// In the order in which it was sent.
Particles::Outcome Particles::takeOutcome(bool isLast) {
  outbox_.receive();
  Outcome outcome;
  outcome.weighed.rewards = rewards_.take(outbox_);
  outcome.weighed.logWeights = outbox_.take(Copied::rewards, weights_.logWeights());
  outcome.weighed.ess = outbox_.take(Copied::rewards, weights_.ess());
  if (isLast) return outcome;
  Proposed& proposed = outcome.proposal.emplace();
  proposed.ancestors = outbox_.take(Copied::ancestors, weights_.ancestors());
  proposed.resampled = outbox_.take(Copied::ancestors, weights_.resampled());
  proposed.tokens = outbox_.take(Copied::tokenIds, proposal_.tokens());
  proposal_.setHostTokens(proposed.tokens);
  return outcome;
}

std::vector<int32_t> Particles::redraw(int step, bool ofProposal, const std::vector<Redraw>& redraws) {
  const auto timer = time(ofProposal ? StageId::propose : StageId::guess);
  if (!ofProposal) isRewarded_ = false;
  return proposal_.redraw(step, ofProposal, redraws);
}

Particles::Similarity Particles::similarity(int particle) {
  const auto p = static_cast<std::size_t>(particle), length = extents_.length;
  const auto state = static_cast<std::size_t>(transfer_.download(Copied::result, states_.stateOf().data() + p, 1)[0]);
  Similarity s = {transfer_.download(Copied::result, states_.gram() + state * length * length, length * length),
                  transfer_.download(Copied::result, rewards_.edit().counted().data() + p * length, length),
                  {}};
  s.coupling = kernels::coupling(s.gram.data(), s.counted.data(), options_.layout.length);
  return s;
}

std::size_t Particles::bytes() {
  return images_.bytes() + states_.bytes() + texts_.bytes() + proposal_.bytes() + rewards_.bytes() + weights_.bytes() +
         outbox_.bytes();
}

std::size_t outcomeBytes(const Extents& e) {
  const std::size_t rewards = (e.rewards - e.givenRewards) * e.allGuesses() * sizeof(double);
  const std::size_t weights = e.particles * sizeof(double) + e.images * sizeof(double);
  const std::size_t ancestors = e.particles * sizeof(int32_t) + e.images * sizeof(uint8_t);
  return rewards + weights + ancestors + e.positions() * sizeof(int32_t);
}

}  // namespace fkinv
