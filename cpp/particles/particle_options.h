// What a particle system is made of: the models' graphs, the call's options and what was computed of its images.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "ort/session.h"

namespace fkinv {

/// The dLLM and the names of its graph's tensors; all but ids and logits may be empty where the graph has none. A row
/// of it is prefix, prompt positions and suffix, `width` in all. Integers are int64 or int32, numbers float32 or
/// float16.
struct DllmGraph {
  std::shared_ptr<ort::Session> session;
  std::string ids;            // integers [Q, width]
  std::string condition;      // numbers [Q, conditionShape]
  std::string attentionMask;  // either [Q, width], ones; or numbers [1, 1, width, width] that are added to the scores
  std::string positionIds;    // integers [Q, width], 0 … width − 1
  std::string timestep;       // either [Q], zeros
  std::string rows;           // integers [length], the rows whose logits it gives; without it, all of them
  std::string logits;         // float32, float16 or bfloat16 [Q, length or width, V]
  /// Where the mask is a matrix: positions of a block, which sees itself and those before it; 0 where each sees all.
  int attentionBlock;
  int vocab;
  int shift;                    // 1 where row i predicts position i + 1, else 0
  std::vector<int32_t> suffix;  // ids after the prompt positions
  // The shape of one row of `condition` where the images' own conditions go there; empty where CLIP's embedding [E]
  // does.
  std::vector<int64_t> conditionShape = {};
};

/// CLIP's text tower: ids [1, L ≤ maxWidth] (and a mask of that shape, when `attentionMask` is not empty), int32 or
/// int64 as the graph has them → embeddings [1, E] in float32 or float16.
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

/// One of the rewards that steer the particles, with its weight λ ≥ 0 in their total.
struct RewardOptions {
  std::string name;
  double lambda;
  // Whether its values come from the host, with the guesses' texts; else it is one that rewards/rewards.cpp knows.
  bool isGiven = false;
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
  int firstBlock;   // positions of the first block, ≤ blockLength
  int blockLength;  // of the others; each block has at least one step
  kernels::Scheme scheme;
  double essThreshold;                 // resample when ESS < threshold·K; 1: always
  std::vector<RewardOptions> rewards;  // what the total is summed over, in this order
  std::vector<uint64_t> seeds;         // one an image

  int prefix() const { return static_cast<int>(prefixes.size()) / layout.images; }
};

/// What a graph gave for one image, [1, …].
using Features = std::shared_ptr<const Array<float>>;

/// Embeddings [1, E] of the images that are one reference.
using Reference = std::vector<Features>;

}  // namespace fkinv
