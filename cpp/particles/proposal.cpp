#include "proposal.h"

#include <algorithm>
#include <utility>

namespace fkinv {

Proposal::Proposal(std::shared_ptr<Device> device, Transfer& transfer, Images& images, States& states,
                   const Extents& extents, const ParticleOptions& options)
    : device_(std::move(device)),
      transfer_(transfer),
      images_(images),
      states_(states),
      extents_(extents),
      options_(options),
      layout_(options.layout) {
  allocate(arrays_, device_, extents_);
  for (std::size_t p = 0; p < extents_.particles; ++p) {
    for (int32_t pinned : options_.pinned) hostTokens_.push_back(pinned >= 0 ? pinned : options_.maskId);
  }
  transfer_.upload(Copied::setUp, arrays_.tokens, hostTokens_);
}

Draws Proposal::draws(int step, kernels::Purpose purpose, int guess, int32_t* tokens) {
  return {.stateOf = states_.stateOf().data(),
          .wanted = arrays_.wanted.data(),
          .seeds = images_.seeds(),
          .step = static_cast<uint32_t>(step),
          .purpose = purpose,
          .guess = static_cast<uint32_t>(guess),
          .tokens = tokens};
}

void Proposal::draw(const Draws& draws) {
  device_->draw(states_.logits(), options_.temperature, states_.tileTable(), states_.rowStats(), layout_, draws);
}

std::vector<int32_t> Proposal::drawGuesses(int step) {
  images_.uploadLive();
  device_->masked(layout_, images_.live(), options_.maskId, arrays_.tokens.data(), 0, layout_.length,
                  arrays_.wanted.data());
  for (int g = 0; g < options_.guesses; ++g) {
    int32_t* guess = arrays_.guess.data() + static_cast<std::size_t>(g) * extents_.positions();
    device_->copy(guess, arrays_.tokens.data(), arrays_.tokens.bytes());
    if (g == 0) {
      device_->exclude(layout_, states_.stateOf().data(), states_.rowStats().fault, arrays_.wanted.data(), guess);
    }
    draw(draws(step, kernels::Purpose::guess, g, guess));
  }
  return transfer_.download(Copied::tokenIds, arrays_.guess);
}

void Proposal::follow(const int32_t* ancestors) {
  device_->gather(layout_, ancestors, arrays_.tokens.data(), arrays_.spareTokens.data(),
                  extents_.length * sizeof(int32_t));
  std::swap(arrays_.tokens, arrays_.spareTokens);
}

Block Proposal::blockAt(int step) const {
  const int blocks = (layout_.length + options_.blockLength - 1) / options_.blockLength;
  const int steps = options_.steps / blocks;
  const int first = step / steps * options_.blockLength;
  return {first, std::min(first + options_.blockLength, layout_.length), step % steps, steps};
}

// Masked positions of the block before its first step.
int Proposal::freeIn(const Block& block) const {
  return static_cast<int>(std::count(options_.pinned.begin() + block.first, options_.pinned.begin() + block.last, -1));
}

void Proposal::chooseByScore(int count) {
  device_->score(options_.order, states_.logits(), states_.tileTable(), states_.rowStats(), layout_,
                 states_.stateOf().data(), arrays_.wanted.data(), arrays_.logModel.data(), arrays_.scores.data());
  device_->choose(layout_, arrays_.scores.data(), arrays_.wanted.data(), count, arrays_.opened.data());
}

void Proposal::propose(int step) {
  const Block block = blockAt(step);
  const int count = kernels::openCount(freeIn(block), block.step, block.steps);
  Draws d = draws(step, kernels::Purpose::proposal, 0, arrays_.drawn.data());
  d.logModel = arrays_.logModel.data();
  d.logProposal = arrays_.logProposal.data();

  device_->masked(layout_, images_.live(), options_.maskId, arrays_.tokens.data(), block.first, block.last,
                  arrays_.wanted.data());
  if (options_.order == kernels::Order::confidence) {
    draw(d);
    chooseByScore(count);
  } else {
    if (options_.order == kernels::Order::random) {
      device_->open(layout_, images_.seeds(), static_cast<uint32_t>(step), block, arrays_.wanted.data(),
                    arrays_.opened.data());
    } else {
      chooseByScore(count);
    }
    device_->copy(arrays_.wanted.data(), arrays_.opened.data(), arrays_.opened.bytes());  // no other is drawn
    draw(d);
  }
  device_->place(layout_, arrays_.opened.data(), arrays_.drawn.data(), arrays_.tokens.data());
}

std::vector<int32_t> Proposal::redraw(int step, bool ofProposal, const std::vector<Redraw>& redraws) {
  const int P = layout_.particles();
  std::vector<int32_t> tokens(redraws.size());
  for (int g = 0; g < (ofProposal ? 1 : options_.guesses); ++g) {
    std::vector<Redraw> ofGuess;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < redraws.size(); ++i) {
      if (redraws[i].particle / P != g) continue;
      ofGuess.push_back({redraws[i].particle % P, redraws[i].position, redraws[i].excluded});
      places.push_back(i);
    }
    const std::vector<int32_t> drawn = redrawGuess(step, ofProposal, g, ofGuess);
    for (std::size_t i = 0; i < places.size(); ++i) {
      tokens[places[i]] = drawn[i];
      const std::size_t at = static_cast<std::size_t>(ofGuess[i].particle) * extents_.length +
                             static_cast<std::size_t>(ofGuess[i].position);
      if (ofProposal && drawn[i] >= 0) hostTokens_[at] = drawn[i];
    }
  }
  return tokens;
}

std::vector<int32_t> Proposal::redrawGuess(int step, bool ofProposal, int guess, const std::vector<Redraw>& redraws) {
  Draws d = draws(step, ofProposal ? kernels::Purpose::proposalRedraw : kernels::Purpose::guessRedraw, guess,
                  ofProposal ? arrays_.tokens.data()
                             : arrays_.guess.data() + static_cast<std::size_t>(guess) * extents_.positions());
  if (ofProposal) {
    d.logModel = arrays_.logModel.data();
    d.logProposal = arrays_.logProposal.data();
  }
  std::vector<int32_t> drawn =
      device_->redraw(states_.logits(), options_.temperature, options_.truncation, layout_, d, redraws);
  if (redraws.empty()) return drawn;
  std::size_t ids = 1 + 3 * redraws.size();  // places, and where their lists begin
  for (const Redraw& redraw : redraws) ids += redraw.excluded.size();
  transfer_.count(Copied::tokenIds, ids * sizeof(int32_t), drawn.size() * sizeof(int32_t), true);
  return drawn;
}

void Proposal::accept(Weights& weights) {
  device_->accept(layout_, arrays_.opened.data(), arrays_.wanted.data(), arrays_.logModel.data(),
                  arrays_.logProposal.data(), weights.logProbData(), weights.logWeightsData());
}

}  // namespace fkinv
