// The particles' tokens: the clean guesses of step 3, and step 7, which positions open and what is drawn there.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "extents.h"
#include "images.h"
#include "states.h"
#include "transfer.h"
#include "weights.h"

namespace fkinv {

class Proposal {
 public:
  struct Arrays {
    Array<int32_t> tokens, spareTokens, drawn;    // [particles, length] x_t; what is drawn
    Array<uint8_t> wanted, opened;                // [particles, length]
    Array<double> logModel, logProposal, scores;  // [particles, length]
    Array<int32_t> guess;                         // [guesses, particles, length]

    template <class Visit>
    void each(const Extents& e, Visit visit) {
      for (auto* ids : {&tokens, &spareTokens, &drawn}) visit(*ids, e.positions());
      for (auto* marks : {&wanted, &opened}) visit(*marks, e.positions());
      for (auto* values : {&logModel, &logProposal, &scores}) visit(*values, e.positions());
      visit(guess, e.guesses * e.positions());
    }
  };

  /// Free positions start as [MASK].
  Proposal(std::shared_ptr<Device> device, Transfer& transfer, Images& images, States& states, const Extents& extents,
           const ParticleOptions& options);

  /// Step 3: draws x̂_0 of each particle, its masked positions anew; the host waits for it. [guesses, particles,
  /// length].
  std::vector<int32_t> drawGuesses(int step);
  /// Has each particle hold the tokens of its ancestor.
  void follow(const int32_t* ancestors);
  /// Step 7: positions open, and their tokens are drawn; accept() ends it.
  void propose(int step);
  /// Draws at `redraws` again, whose `particle` is a row of the guesses [guesses · particles] or of the proposal;
  /// returns the tokens, −1 where nothing is left.
  std::vector<int32_t> redraw(int step, bool ofProposal, const std::vector<Redraw>& redraws);
  /// Adds the log-probabilities and importance weights of what was proposed.
  void accept(Weights& weights);

  const Array<int32_t>& tokens() const { return arrays_.tokens; }
  const Array<int32_t>& guess() const { return arrays_.guess; }
  /// x_t on the host [particles, length], as on the device between the steps; what a step sent to the host of it goes
  /// here.
  const std::vector<int32_t>& hostTokens() const { return hostTokens_; }
  void setHostTokens(std::vector<int32_t> tokens) { hostTokens_ = std::move(tokens); }
  std::size_t bytes() { return heldBytes(arrays_, extents_); }

 private:
  Block blockAt(int step) const;
  int freeIn(const Block& block) const;
  Draws draws(int step, kernels::Purpose purpose, int guess, int32_t* tokens);
  void draw(const Draws& draws);
  // Marks the masked positions from `first` to before `last`.
  void mark(int first, int last);
  void chooseByScore(int count);
  std::vector<int32_t> redrawGuess(int step, bool ofProposal, int guess, const std::vector<Redraw>& redraws);

  const std::shared_ptr<Device> device_;
  Transfer& transfer_;
  Images& images_;
  States& states_;
  const Extents extents_;
  const ParticleOptions& options_;
  const Layout layout_;
  Arrays arrays_;
  std::vector<int32_t> hostTokens_;
};

}  // namespace fkinv
