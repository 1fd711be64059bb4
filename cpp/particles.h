// The particle system: B images × K particles, their tokens, rewards and weights, on one device.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cancel.h"
#include "device.h"
#include "kernels/coupling.h"
#include "ort/binding.h"

namespace fkinv {

/// The dLLM: ids [Q, N] int64 (and, when `condition` is not empty, image embeddings [Q, E] float32) → logits [Q, N, V].
struct DllmGraph {
  std::shared_ptr<ort::Session> session;
  std::string ids, condition, logits;
  int vocab;
};

/// CLIP's text tower: ids [U, L ≤ maxWidth] int64 → embeddings [U, E] float32.
struct TextGraph {
  std::shared_ptr<ort::Session> session;
  std::string ids, embeddings;
  int maxWidth;
};

struct ParticleOptions {
  Layout layout;
  int steps;                        // T; forwards are T + 1
  int32_t maskId;                   // suppressed too, by being in `suppressed`
  std::vector<int32_t> suppressed;  // ids that no prompt may hold
  std::vector<int32_t> stops;       // ids that end a prompt
  int minLength;                    // positions that hold no stop id
  bool countAll;                    // whether positions after the stop count in r_edit
  double temperature;               // τ
  double lambdaClip, lambdaEdit;
  std::vector<uint64_t> seeds;  // one an image
};

/// Each method is one or two of the steps of algorithm.md, "T + 1 forwards", and runs on the engine's thread; `step`
/// counts the steps done, 0 at t = T. Arrays are [particles] or [particles, length], image after image.
class Particles {
 public:
  struct Weights {
    std::vector<double> logWeights;  // [particles], before resampling
    std::vector<double> ess;         // [images]
  };
  struct Rewards {
    std::vector<double> clip, edit;  // [particles]
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

  /// `imageEmbeds` [images, embedSize]. All positions start as [MASK].
  Particles(std::shared_ptr<Device> device, const DllmGraph& dllm, const TextGraph& text,
            std::shared_ptr<const Array<float>> imageEmbeds, int embedSize, ParticleOptions options);

  /// Steps 1 and 2: one forward for each distinct state; S, row statistics and tile table from one read of its logits.
  /// Returns how many distinct states each image's particles are in [images]. Throws Error "INVALID_LOGITS" or
  /// "NOTHING_LEFT", naming particle and position, and "INVALID_EMBEDDING" where an image's embedding is zero or not
  /// finite.
  std::vector<int32_t> denoise(CancelToken& cancel);

  /// Step 3: a clean guess x̂_0 for each particle [particles, length].
  std::vector<int32_t> guess(int step);

  /// Step 4, and r_edit of the guess's counted positions. `ids` [texts, width] are the distinct texts of the guesses,
  /// `textOf` [particles] says which is whose. Throws Error "INVALID_EMBEDDING".
  Rewards reward(const std::vector<int64_t>& ids, int texts, const std::vector<int32_t>& textOf, CancelToken& cancel);

  /// Step 5: adds log G_t to the log-weights. Throws Error "DEGENERATE_WEIGHTS".
  Weights weigh();

  /// Step 6: ancestors [particles], slots within the image; state, rewards and log-probability follow them.
  std::vector<int32_t> resample(int step);

  /// Step 7: opens positions and draws their tokens anew.
  void propose(int step);

  Final final() const;
  Similarity similarity(int particle) const;
  const std::vector<Stage>& stages() const { return stages_; }

  /// Host memory held now.
  std::size_t bytes() const;

 private:
  enum StageId { kDenoise, kPass, kGuess, kEncodeText, kReward, kResample, kPropose };
  class Timer;

  struct DllmBuffers {
    int64_t* ids;      // [states, length]
    float* condition;  // [states, embedSize], or null
    float* logits;     // [states, length, vocab]
  };
  struct TextBuffers {
    int64_t* ids;             // [texts, width]
    const float* embeddings;  // [texts, embedSize]
  };
  DllmBuffers bindDllm(int64_t states);
  TextBuffers bindText(int64_t texts, int64_t width);
  void checkImages();
  std::vector<int32_t> findStates();
  void runDllm(CancelToken& cancel);
  void readLogits();
  void checkRows() const;
  std::string describe(std::size_t row) const;
  TileTable tileTable();
  RowStats rowStats();
  template <class T>
  void follow(Array<T>& values, Array<T>& spare);

  const std::shared_ptr<Device> device_;
  const DllmGraph dllm_;
  const TextGraph text_;
  const std::shared_ptr<const Array<float>> imageEmbeds_;
  const int embedSize_;
  const ParticleOptions options_;
  const Layout layout_;
  ort::Binding dllmBinding_, textBinding_;
  std::vector<Stage> stages_;

  // Particles.
  Array<uint64_t> seeds_;
  Array<int32_t> suppressed_, stops_;
  Array<int32_t> tokens_, guess_, spareTokens_;                                             // [particles, length]
  Array<int32_t> stateOf_, spareStateOf_, ancestors_;                                       // [particles]
  Array<uint8_t> wanted_, counted_;                                                         // [particles, length]
  Array<double> clip_, edit_, previousClip_, previousEdit_, logWeights_, logProb_, spare_;  // [particles]
  Array<double> ess_;                                                                       // [images]

  // Distinct states: at most one a particle.
  std::vector<int> firstOf_;  // [states] the first particle in it
  Logits logits_{};
  Array<int64_t> rowOf_;
  Array<float> tileMax_;
  Array<double> tileExponent_, tileMass_, tileMoment_, tileTemperedMass_;
  Array<float> tileGram_;
  Array<float> rowMax_, rowEntropy_, gram_;
  Array<double> rowExponent_, rowMass_, rowTemperedMass_;
  Array<kernels::RowFault> rowFault_;
};

}  // namespace fkinv
