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
  device_->run(ops::Draw{.z = states_.logits(),
                         .temperature = options_.temperature,
                         .tiles = states_.tables().tiles(),
                         .rows = states_.tables().rows(),
                         .layout = layout_,
                         .draws = draws});
}

void Proposal::mark(int first, int last) {
  device_->run(ops::Masked{.layout = layout_,
                           .live = images_.live(),
                           .maskId = options_.maskId,
                           .tokens = arrays_.tokens.data(),
                           .first = first,
                           .last = last,
                           .wanted = arrays_.wanted.data()});
}

std::vector<int32_t> Proposal::drawGuesses(int step) {
  images_.uploadLive();
  mark(0, layout_.length);
  for (int g = 0; g < options_.guesses; ++g) {
    int32_t* guess = arrays_.guess.data() + static_cast<std::size_t>(g) * extents_.positions();
    device_->copy(guess, arrays_.tokens.data(), arrays_.tokens.bytes());
    if (g == 0) {
      device_->run(ops::Exclude{.layout = layout_,
                                .stateOf = states_.stateOf().data(),
                                .faults = states_.tables().rows().fault,
                                .wanted = arrays_.wanted.data(),
                                .tokens = guess});
    }
    draw(draws(step, kernels::Purpose::guess, g, guess));
  }
  return transfer_.download(Copied::tokenIds, arrays_.guess);
}

void Proposal::follow(const int32_t* ancestors) {
  device_->run(ops::Gather{.layout = layout_,
                           .ancestors = ancestors,
                           .from = arrays_.tokens.data(),
                           .to = arrays_.spareTokens.data(),
                           .rowBytes = extents_.length * sizeof(int32_t)});
  std::swap(arrays_.tokens, arrays_.spareTokens);
}

Block Proposal::blockAt(int step) const {
  // Where T is no multiple of the number of blocks, some have a step more than others.
  const int rest = layout_.length - options_.firstBlock;
  const int blocks = 1 + (rest + options_.blockLength - 1) / options_.blockLength;
  const auto firstStep = [&](int block) { return block * options_.steps / blocks; };
  int block = step * blocks / options_.steps;
  if (firstStep(block + 1) <= step) ++block;
  const auto end = [&](int of) { return std::min(options_.firstBlock + of * options_.blockLength, layout_.length); };
  return {block == 0 ? 0 : end(block - 1), end(block), step - firstStep(block),
          firstStep(block + 1) - firstStep(block)};
}

// Masked positions of the block before its first step.
int Proposal::freeIn(const Block& block) const {
  return static_cast<int>(std::count(options_.pinned.begin() + block.first, options_.pinned.begin() + block.last, -1));
}

void Proposal::chooseByScore(int count) {
  device_->run(ops::Score{.order = options_.order,
                          .z = states_.logits(),
                          .tiles = states_.tables().tiles(),
                          .rows = states_.tables().rows(),
                          .layout = layout_,
                          .stateOf = states_.stateOf().data(),
                          .wanted = arrays_.wanted.data(),
                          .logModel = arrays_.logModel.data(),
                          .scores = arrays_.scores.data()});
  device_->run(ops::Choose{.layout = layout_,
                           .scores = arrays_.scores.data(),
                           .wanted = arrays_.wanted.data(),
                           .count = count,
                           .opened = arrays_.opened.data()});
}

void Proposal::propose(int step) {
  const Block block = blockAt(step);
  const int count = kernels::openCount(freeIn(block), block.step, block.steps);
  Draws d = draws(step, kernels::Purpose::proposal, 0, arrays_.drawn.data());
  d.logModel = arrays_.logModel.data();
  d.logProposal = arrays_.logProposal.data();

  mark(block.first, block.last);
  if (options_.order == kernels::Order::confidence) {
    draw(d);
    chooseByScore(count);
  } else {
    if (options_.order == kernels::Order::random) {
      device_->run(ops::Open{.layout = layout_,
                             .seeds = images_.seeds(),
                             .step = static_cast<uint32_t>(step),
                             .block = block,
                             .wanted = arrays_.wanted.data(),
                             .opened = arrays_.opened.data()});
    } else {
      chooseByScore(count);
    }
    device_->copy(arrays_.wanted.data(), arrays_.opened.data(), arrays_.opened.bytes());  // no other is drawn
    draw(d);
  }
  device_->run(ops::Place{.layout = layout_,
                          .opened = arrays_.opened.data(),
                          .drawn = arrays_.drawn.data(),
                          .tokens = arrays_.tokens.data()});
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
  if (redraws.empty()) return {};
  Draws d = draws(step, ofProposal ? kernels::Purpose::proposalRedraw : kernels::Purpose::guessRedraw, guess,
                  ofProposal ? arrays_.tokens.data()
                             : arrays_.guess.data() + static_cast<std::size_t>(guess) * extents_.positions());
  if (ofProposal) {
    d.logModel = arrays_.logModel.data();
    d.logProposal = arrays_.logProposal.data();
  }
  const kernels::RedrawLists lists(redraws);
  const auto places = transfer_.onDevice(Copied::tokenIds, lists.places);
  const auto excluded = transfer_.onDevice(Copied::tokenIds, lists.excluded);
  const auto firstOf = transfer_.onDevice(Copied::tokenIds, lists.firstOf);
  Array<int32_t> drawn(device_, redraws.size());
  device_->run(ops::Redraw{.z = states_.logits(),
                           .temperature = options_.temperature,
                           .truncation = options_.truncation,
                           .layout = layout_,
                           .draws = d,
                           .count = static_cast<int>(redraws.size()),
                           .places = places.data(),
                           .excluded = excluded.data(),
                           .firstOf = firstOf.data(),
                           .drawn = drawn.data()});
  return transfer_.download(Copied::tokenIds, drawn);
}

void Proposal::accept(Weights& weights) {
  device_->run(ops::Accept{.layout = layout_,
                           .opened = arrays_.opened.data(),
                           .drawn = arrays_.wanted.data(),
                           .logModel = arrays_.logModel.data(),
                           .logProposal = arrays_.logProposal.data(),
                           .logProb = weights.logProbData(),
                           .logWeights = weights.logWeightsData()});
}

}  // namespace fkinv
