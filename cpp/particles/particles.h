// The particle system: B images × K particles, their tokens, rewards and weights, on one device.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "engine/cancel.h"
#include "images.h"
#include "kernels/coupling.h"
#include "particle_options.h"
#include "proposal.h"
#include "rewards/rewards.h"
#include "stages.h"
#include "states.h"
#include "texts.h"
#include "transfer.h"
#include "weights.h"

namespace fkinv {

/// Each method is one or two of the steps of algorithm.md, "T + 1 forwards", and runs on the engine's thread; `step`
/// counts the steps done, 0 at t = T. Arrays are [particles] or [particles, length], image after image. An image that
/// fails is left out of what follows; the numbers of the others do not depend on it.
class Particles {
 public:
  struct Denoised {
    std::vector<int32_t> states;  // [images] distinct states of its particles
    int forwards;                 // rows the dLLM ran
    std::vector<Failure> failures;
  };
  struct Guesses {
    std::vector<int32_t> tokens;  // [guesses, particles, length]
    std::vector<Failure> failures;
  };
  struct Weighed {
    std::vector<std::vector<double>> rewards;  // of each in the options' order: [guesses, particles]
    std::vector<double> logWeights;            // [particles], before resampling
    std::vector<double> ess;                   // [images]
    std::vector<Failure> failures;
  };
  struct Proposed {
    std::vector<int32_t> ancestors;  // [particles], slots within the image
    std::vector<uint8_t> resampled;  // [images] 0 where the weights are carried over
    std::vector<int32_t> tokens;     // [particles, length]
  };
  /// What a step comes to; no proposal in the last.
  struct Outcome {
    Weighed weighed;
    std::optional<Proposed> proposal;
  };
  struct Final {
    std::vector<int32_t> tokens;  // [particles, length]
    std::vector<double> logProb;  // [particles] Σ log p of the tokens along the trajectory
  };
  struct Similarity {
    std::vector<float> gram;       // [length, length] S
    std::vector<uint8_t> counted;  // [length]
    kernels::Coupling coupling;
  };

  /// One reference an image, and one condition where the dLLM has a `conditionShape`. Free positions start as [MASK].
  Particles(std::shared_ptr<Device> device, const DllmGraph& dllm, const TextGraph& text,
            std::vector<Reference> references, int embedSize, ParticleOptions options,
            std::vector<Features> conditions = {});
  Particles(const Particles&) = delete;
  Particles& operator=(const Particles&) = delete;

  /// Steps 1 and 2: one forward for each distinct state that the step before did not have; S, row statistics and tile
  /// table from one read of its logits. Failures: "MODEL_RUN", and "INVALID_EMBEDDING" where an image's embedding or
  /// condition is zero or not finite. Waits for the device before the first step only.
  Denoised denoise(CancelToken& cancel);

  /// Step 3: clean guesses x̂_0 of each particle, which the host waits for; the rewards that need no text are on their
  /// way then. Failures: "INVALID_LOGITS" or "NOTHING_LEFT", naming particle and position; the tokens of such an image
  /// mean nothing.
  Guesses guess(int step);

  /// Steps 4 and 5: texts are embedded, log G_t goes onto the log-weights. `given` are the values [guesses, particles]
  /// of the rewards that come from the host, in the options' order. Unless the step is the last, step 6: ancestors,
  /// whom state, rewards and log-probability follow; and step 7: positions open and their tokens are drawn anew, which
  /// accept() ends. The host waits once. Failures: "MODEL_RUN", "INVALID_EMBEDDING", "DEGENERATE_WEIGHTS"; a proposal
  /// for such an image means nothing.
  Outcome advance(int step, const TextBatch& texts, const std::vector<std::vector<double>>& given, CancelToken& cancel);

  /// Draws at `redraws` again, whose `particle` is a row of the guesses [guesses · particles] or of the proposal;
  /// returns the tokens, −1 where nothing is left.
  std::vector<int32_t> redraw(int step, bool ofProposal, const std::vector<Redraw>& redraws);

  /// The proposal's log-probabilities and importance weights.
  void accept() { proposal_.accept(weights_); }

  /// Leaves an image out of what follows.
  void retire(int image) { images_.retire(image); }

  Final final() { return {proposal_.hostTokens(), transfer_.download(Copied::result, weights_.logProb())}; }
  Similarity similarity(int particle);
  const std::vector<Stage>& stages() const { return stages_.all(); }
  const Copies& copies() const { return transfer_.copies(); }
  const ParticleOptions& options() const { return options_; }

  /// Memory of the device held now; memory_plan.h has it beforehand.
  std::size_t bytes();

 private:
  Stages::Timer time(StageId id) { return {stages_, *device_, id}; }
  Guessed guessed() const;
  void rewardTokens();
  Outcome takeOutcome(bool isLast);

  const std::shared_ptr<Device> device_;
  const ParticleOptions options_;
  const Extents extents_;
  Transfer transfer_;
  Stages stages_;
  Images images_;
  States states_;
  Texts texts_;
  Proposal proposal_;
  Rewards rewards_;
  Weights weights_;
  Outbox outbox_;
  bool isPrepared_ = false;  // the images' embeddings are checked
  bool isRewarded_ = false;  // the rewards of tokens are of the guesses as they are
};

/// Bytes that a step sends to the host in one piece.
std::size_t outcomeBytes(const Extents&);

}  // namespace fkinv
