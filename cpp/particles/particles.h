// The particle system: B images × K particles, their tokens, rewards and weights, on one device.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/cancel.h"
#include "device/device.h"
#include "error.h"
#include "kernels/coupling.h"
#include "ort/binding.h"

namespace fkinv {

/// The dLLM and the names of its graph's tensors; all but ids and logits may be empty where the graph has none. A row
/// of it is prefix, prompt positions and suffix, `width` in all.
struct DllmGraph {
  std::shared_ptr<ort::Session> session;
  std::string ids;            // int64 [Q, width]
  std::string condition;      // float32 [Q, conditionShape]
  std::string attentionMask;  // int64 [Q, width], ones
  std::string positionIds;    // int64 [Q, width], 0 … width − 1
  std::string timestep;       // float32 or int64 [Q], zeros
  std::string logits;         // float32, float16 or bfloat16 [Q, width, V]
  int vocab;
  int shift;                    // 1 where row i predicts position i + 1, else 0
  std::vector<int32_t> suffix;  // ids after the prompt positions
  // Of one row of `condition`, where the images' own conditions go there; empty where CLIP's embedding [E] does.
  std::vector<int64_t> conditionShape = {};
};

/// CLIP's text tower: ids [1, L ≤ maxWidth] int64 (and a mask of ones, when `attentionMask` is not empty) → embeddings
/// [1, E] float32.
struct TextGraph {
  std::shared_ptr<ort::Session> session;
  std::string ids, attentionMask, embeddings;
  int maxWidth;
};

/// Ids that are suppressed at some positions: stop ids before a prompt may end, for one.
struct Restriction {
  std::vector<int32_t> ids;
  std::vector<uint8_t> at;  // [length] not 0 where they are
};

struct ParticleOptions {
  Layout layout;
  int steps;                        // T; forwards are T + 1
  int guesses;                      // φ
  int32_t maskId;                   // suppressed too, by being in `suppressed`
  std::vector<int32_t> suppressed;  // ids that no position may hold
  std::vector<Restriction> restrictions;
  std::vector<int32_t> stops;     // ids that end a prompt
  std::vector<int32_t> pinned;    // [length] the fixed token of a position, −1 where it is free
  std::vector<int32_t> prefixes;  // [images, prefix] ids before the prompt positions
  bool countAll;                  // whether positions after the stop count in r_edit
  double temperature;             // τ
  kernels::Truncation truncation;
  kernels::Order order;
  int blockLength;  // ≤ length; T is a multiple of the number of blocks
  kernels::Scheme scheme;
  double essThreshold;  // resample when ESS < threshold·K; 1: always
  double lambdaClip, lambdaEdit;
  std::vector<uint64_t> seeds;  // one an image
};

/// What a graph gave for one image, [1, …].
using Features = std::shared_ptr<const Array<float>>;

/// What crosses between host and device, by what it is for: `setUp` before the first step, and where an image is left
/// out; in each step token ids (with which state a particle is in), text ids (with which text a guess has), rewards
/// (with the weights they give), ancestors; and the result.
enum class Copied { setUp, tokenIds, textIds, rewards, ancestors, result };
inline constexpr const char* kCopiedNames[] = {"setUp", "tokenIds", "textIds", "rewards", "ancestors", "result"};
struct Copies {
  struct Bytes {
    int64_t toDevice = 0, toHost = 0;
  };
  std::array<Bytes, std::size(kCopiedNames)> of;
  Bytes& operator[](Copied why) { return of[static_cast<std::size_t>(why)]; }
  /// How often the host waited for the device.
  int waits = 0;
};

/// Embeddings [1, E] of the images that are one reference.
using Reference = std::vector<Features>;

/// Each method is one or two of the steps of algorithm.md, "T + 1 forwards", and runs on the engine's thread; `step`
/// counts the steps done, 0 at t = T. Arrays are [particles] or [particles, length], image after image. An image that
/// fails is left out of what follows; the numbers of the others do not depend on it.
class Particles {
 public:
  struct Failure {
    int image;
    Error error;
  };
  struct Denoised {
    std::vector<int32_t> states;  // [images] distinct states of its particles
    int forwards;                 // rows the dLLM ran
    std::vector<Failure> failures;
  };
  struct Guesses {
    std::vector<int32_t> tokens;  // [guesses, particles, length]
    std::vector<Failure> failures;
  };
  struct Rewards {
    std::vector<double> clip, edit;  // [guesses, particles]
    std::vector<double> logWeights;  // [particles], before resampling
    std::vector<double> ess;         // [images]
    std::vector<Failure> failures;
  };
  struct Proposal {
    std::vector<int32_t> ancestors;  // [particles], slots within the image
    std::vector<uint8_t> resampled;  // [images] 0 where the weights are carried over
    std::vector<int32_t> tokens;     // [particles, length]
  };
  /// What a step comes to; no proposal in the last.
  struct Outcome {
    Rewards rewards;
    std::optional<Proposal> proposal;
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
  struct Stage {
    const char* name;
    double milliseconds = 0;
    int calls = 0;
  };

  /// One reference an image, and one condition where the dLLM has a `conditionShape`. Free positions start as [MASK].
  Particles(std::shared_ptr<Device> device, const DllmGraph& dllm, const TextGraph& text,
            std::vector<Reference> references, int embedSize, ParticleOptions options,
            std::vector<Features> conditions = {});

  /// Steps 1 and 2: one forward for each distinct state that the step before did not have; S, row statistics and tile
  /// table from one read of its logits. Failures: "MODEL_RUN", and "INVALID_EMBEDDING" where an image's embedding or
  /// condition is zero or not finite. Waits for the device before the first step only.
  Denoised denoise(CancelToken& cancel);

  /// Step 3: clean guesses x̂_0 of each particle, which the host waits for; their r_edit is on its way then. Failures:
  /// "INVALID_LOGITS" or "NOTHING_LEFT", naming particle and position; the tokens of such an image mean nothing.
  Guesses guess(int step);

  /// New texts for step 4: `ids` holds them one after the other, `widths` [texts] their lengths, and `places` [texts],
  /// below guesses · particles, where their embeddings stay until others come there.
  struct Texts {
    std::vector<int64_t> ids;
    std::vector<int32_t> widths;
    std::vector<int64_t> places;
  };

  /// Step 4; `placeOf` [guesses, particles] are the places of their texts. Step 5: log G_t onto the log-weights. Unless
  /// the step is the last, step 6: ancestors, whom state, rewards and log-probability follow; and step 7: positions
  /// open and their tokens are drawn anew, which accept() ends. The host waits once. Failures: "MODEL_RUN",
  /// "INVALID_EMBEDDING", "DEGENERATE_WEIGHTS"; a proposal for such an image means nothing.
  Outcome advance(int step, const Texts& fresh, const std::vector<int32_t>& placeOf, CancelToken& cancel);

  /// Draws at `redraws` again, whose `particle` is a row of the guesses [guesses · particles] or of the proposal;
  /// returns the tokens, −1 where nothing is left.
  std::vector<int32_t> redraw(int step, bool ofProposal, const std::vector<Redraw>& redraws);

  /// The proposal's log-probabilities and importance weights.
  void accept();

  /// Leaves an image out of what follows.
  void retire(int image);

  Final final();
  Similarity similarity(int particle);
  const std::vector<Stage>& stages() const { return stages_; }
  const Copies& copies() const { return copies_; }

  /// Memory of the device held now; memory_plan.h has it beforehand.
  std::size_t bytes() const;

 private:
  enum StageId { kDenoise, kPass, kGuess, kEncodeText, kReward, kResample, kPropose };

  // Adds its lifetime to a stage, by whose name the device's profiler has it.
  class Timer {
   public:
    Timer(Particles& particles, StageId id) : stage_(particles.stages_[id]), range_(*particles.device_, stage_.name) {}
    ~Timer() {
      stage_.milliseconds += std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
      ++stage_.calls;
    }

   private:
    using Clock = std::chrono::steady_clock;
    Stage& stage_;
    const Range range_;
    const Clock::time_point start_ = Clock::now();
  };

  struct DllmBuffers {
    int64_t* ids;      // [states, width]
    float* condition;  // [states, conditionShape], or null
    void* logits;      // [states, width, vocab]
  };
  struct TextBuffers {
    int64_t* ids;             // [texts, maxWidth]
    const float* embeddings;  // [texts, embedSize]
  };
  int width() const { return prefix_ + layout_.length + static_cast<int>(dllm_.suffix.size()); }
  DllmBuffers bindDllm(int64_t states);
  TextBuffers bindText();
  void fillConstants();
  void startTokens();
  void placeStates();
  void averageReferences(std::vector<Failure>& failures);
  void checkConditions(std::vector<Failure>& failures);
  std::vector<int64_t> conditionShape() const;
  int conditionSize() const;
  const float* conditionOf(int image) const;
  void upload(Copied why, void* to, const void* host, std::size_t bytes);
  template <class T>
  void upload(Copied why, Array<T>& to, const std::vector<T>& host);
  template <class T>
  Array<T> onDevice(const std::vector<T>& host);
  template <class T>
  std::vector<T> download(Copied why, const Array<T>& from, std::size_t first, std::size_t count);
  template <class T>
  std::vector<T> download(Copied why, const Array<T>& from);
  void encodeTexts(const Texts& fresh, const std::vector<int32_t>& placeOf, CancelToken& cancel,
                   std::vector<Failure>& failures);
  std::vector<int32_t> drawGuesses(int step);
  void couple();
  void reward(const std::vector<int32_t>& placeOf);
  void weigh();
  void resample(int step);
  void propose(int step);
  template <class T>
  void send(const Array<T>& values);
  Outcome takeOutcome(bool isLast);
  void uploadLive();
  std::vector<std::string> stateKeys() const;
  std::vector<int32_t> findStates();
  void runDllm(CancelToken& cancel, std::vector<Failure>& failures);
  void readLogits();
  void readLogits(int first, int states);
  void checkRows(const std::vector<int32_t>& guess, std::vector<Failure>& failures);
  template <class Message>
  void failState(int32_t state, Message message, std::vector<Failure>& failures);
  void fail(int image, Error error, std::vector<Failure>& failures);
  Block blockAt(int step) const;
  int freeIn(const Block& block) const;
  Draws draws(int step, kernels::Purpose purpose, int guess, int32_t* tokens);
  template <class T>
  T* fromState(Array<T>& ofStates, int first) const;
  Logits logits(int first, int states);
  TileTable tileTable(int first = 0);
  RowStats rowStats(int first = 0);
  template <class T>
  void follow(Array<T>& values, Array<T>& spare);

  const std::shared_ptr<Device> device_;
  const DllmGraph dllm_;
  const TextGraph text_;
  const std::vector<Reference> references_;
  const std::vector<Features> conditions_;  // [images], or none
  const int embedSize_;
  const ParticleOptions options_;
  const Layout layout_;
  const int prefix_;  // ids before the prompt positions
  ort::Binding dllmBinding_, textBinding_;
  std::vector<Stage> stages_;
  Copies copies_;

  // Images.
  Array<float> imageEmbeds_;    // [images, embedSize]
  std::vector<uint8_t> live_;   // [images] not 0 until it fails
  std::vector<uint8_t> known_;  // what the device has of it
  Array<uint8_t> liveOnDevice_, resampled_;
  Array<uint64_t> seeds_;
  Array<int32_t> suppressed_, stops_;
  std::vector<std::pair<Array<int32_t>, Array<uint8_t>>> restrictions_;
  Array<double> ess_;  // [images]

  // Particles.
  std::vector<int32_t> hostTokens_;                    // [particles, length], as on the device between the steps
  Array<int32_t> tokens_, spareTokens_, drawn_;        // [particles, length]
  Array<int32_t> guess_;                               // [guesses, particles, length]
  Array<int32_t> stateOf_, spareStateOf_, ancestors_;  // [particles]
  Array<uint8_t> wanted_, opened_;                     // [particles, length]
  Array<uint8_t> counted_;                             // [guesses, particles, length]
  Array<double> logModel_, logProposal_, scores_;      // [particles, length]
  Array<double> clip_, edit_;                          // [guesses, particles]
  Array<double> total_, previousTotal_, logWeights_, logProb_, spare_;  // [particles]

  Array<int32_t> textOf_;     // [guesses, particles] places of their texts
  Array<std::byte> outcome_;  // what a step sends to the host, in one piece
  std::size_t sent_ = 0;      // bytes of it
  bool isCoupled_ = false;    // edit_ is of the guesses as they are

  TextBuffers textBuffers_;

  // Distinct states: at most one a particle, each at a place of its own from the step it first appears in to its last,
  // so that its logits and what was read of them need not be made again.
  struct Fresh {
    int32_t state;
    int particle;  // the first in it
  };
  std::vector<int32_t> hostStateOf_;                  // [particles], −1 where the image failed
  std::unordered_map<std::string, int32_t> placeOf_;  // by its tokens, those of the step
  std::vector<Fresh> fresh_;                          // those that the step before did not have, ascending
  DllmBuffers dllmBuffers_;
  Logits logits_{};  // of all places
  Array<int64_t> rowOf_;
  Array<float> tileMax_, tileMass_, tileMoment_, tileWeight_, tileGram_;
  Array<double> tileExponent_;
  Array<float> rowMax_, rowEntropy_, rowThreshold_, gram_;
  Array<double> rowExponent_, rowMass_, rowTemperedMass_;
  Array<kernels::RowFault> rowFault_;
};

}  // namespace fkinv
