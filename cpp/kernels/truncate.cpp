#include "truncate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu.h"
#include "device/parallel.h"
#include "key.h"
#include "widen.h"

namespace fkinv::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Weights by a few bits of the keys.
class Histogram {
 public:
  void add(uint32_t bin, double weight) { bins_[bin] += weight; }
  double total() const { return std::accumulate(bins_.begin(), bins_.end(), 0.0); }
  // The highest bin such that the weights from it upward, with `above`, reach `target`; `above` gains those above it.
  uint32_t find(double target, double& above) const {
    auto bin = static_cast<uint32_t>(bins_.size() - 1);
    for (; bin > 0 && above + bins_[bin] < target; --bin) above += bins_[bin];
    return bin;
  }

 private:
  std::array<double, 2048> bins_{};
};

// The highest key such that the weights of the keys from it upward sum to target(their total) or more. each(f) calls
// f(key, weight) for every token, and is called twice: a histogram of the keys' highest 11 bits says which of them are
// looked at more closely.
template <class Target, class Each>
uint32_t threshold(Target target, Each each) {
  struct Token {
    uint32_t key;
    double weight;
  };
  Histogram histogram;
  each([&](uint32_t key, double weight) { histogram.add(key >> 21, weight); });
  const double wanted = target(histogram.total());
  double above = 0;
  uint32_t prefix = histogram.find(wanted, above);
  std::vector<Token> inside;
  each([&](uint32_t key, double weight) {
    if (key >> 21 == prefix) inside.push_back({key, weight});
  });
  int shift = 21;
  for (const int bits : {11, 10}) {
    shift -= bits;
    const uint32_t mask = (1u << bits) - 1;
    Histogram finer;
    for (const Token& token : inside) finer.add(token.key >> shift & mask, token.weight);
    const uint32_t bin = finer.find(wanted, above);
    std::erase_if(inside, [&](const Token& token) { return (token.key >> shift & mask) != bin; });
    prefix = prefix << bits | bin;
  }
  return prefix;
}

// f(tile, its first column, its width) of every tile.
template <class F>
void eachTile(const Logits& z, F f) {
  for (int tile = 0; tile < z.tiles(); ++tile) f(tile, tile * kTile, std::min(kTile, z.vocab - tile * kTile));
}

// The key of the k-th largest logit.
uint32_t topKey(const Logits& z, int64_t r, int k) {
  return threshold([&](double) { return k; },
                   [&](auto f) {
                     eachTile(z, [&](int, int begin, int width) {
                       float widened[kTile];
                       const float* row = widen(z, r, begin, width, widened);
                       for (int c = 0; c < width; ++c) f(keyOf(row[c]), 1.0);
                     });
                   });
}

// The key at which the tempered mass of the logits from `lowest` upward reaches `topP` of what they all have.
uint32_t massKey(const InstructionSet& vectors, const Logits& z, double temperature, const RowStats& rows, int64_t r,
                 double topP, float lowest) {
  return threshold([&](double total) { return topP * total; },
                   [&](auto f) {
                     eachTile(z, [&](int tile, int begin, int width) {
                       float widened[kTile];
                       TileWeights weights;
                       const float* row = widen(z, r, begin, width, widened);
                       vectors.weighTile(z, r, tile, rows.exponent[r], temperature, lowest, weights);
                       for (int c = 0; c < width; ++c) f(keyOf(row[c]), static_cast<double>(weights.ofToken[c]));
                     });
                   });
}

}  // namespace

void truncateRow(const InstructionSet& vectors, const Logits& z, double temperature, Truncation truncation,
                 const TileTable& t, const RowStats& rows, int64_t r) {
  float lowest = kMinusInfinity;
  if (truncation.topK > 0 && truncation.topK < z.vocab) {
    lowest = logitOf(std::max(topKey(z, r, truncation.topK), keyOf(kMinusInfinity)));
  }
  if (truncation.topP < 1) {
    const uint32_t key = massKey(vectors, z, temperature, rows, r, truncation.topP, lowest);
    lowest = std::max(lowest, logitOf(std::max(key, keyOf(kMinusInfinity))));
  }
  if (lowest == kMinusInfinity) return;  // all are kept: the pass's own sums stand
  rows.threshold[r] = lowest;

  rows.temperedMass[r] = 0;
  eachTile(z, [&](int tile, int, int) {
    const int64_t at = r * z.tiles() + tile;
    t.weight[at] = 0;
    if (t.max[at] < lowest) return;
    TileWeights weights;
    vectors.weighTile(z, r, tile, t.exponent[at], temperature, lowest, weights);
    t.weight[at] = static_cast<float>(weights.total * std::exp2((t.exponent[at] - rows.exponent[r]) / temperature));
    rows.temperedMass[r] += static_cast<double>(t.weight[at]);
  });
}

void run(const ops::Truncate& op, const Cpu& cpu) {
  cpu.pool.run(op.z.rows(), [&](int64_t r) {
    if (op.rows.fault[r] == RowFault::none) {
      truncateRow(cpu.vectors, op.z, op.temperature, op.truncation, op.tiles, op.rows, r);
    }
  });
}

}  // namespace fkinv::kernels
