#include "truncate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "exp2.h"
#include "widen.h"

namespace fkinv::kernels {
namespace {

// An unsigned integer in the order of the floats, and back.
uint32_t keyOf(float z) {
  const auto bits = std::bit_cast<uint32_t>(z == 0 ? 0.0f : z);  // −0 is 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
float logitOf(uint32_t key) { return std::bit_cast<float>(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// The highest key such that the weights of the keys from it upward sum to `target` or more.
template <class Weight>
uint32_t threshold(const std::vector<uint32_t>& keys, double target, Weight weight) {
  uint32_t prefix = 0;
  double above = 0;  // weight of the keys above the bin that is being refined
  int shift = 32;
  for (const int bits : {11, 11, 10}) {
    const int next = shift - bits;
    std::vector<double> bins(size_t{1} << bits, 0.0);
    for (size_t i = 0; i < keys.size(); ++i) {
      const bool isInside = shift == 32 || keys[i] >> shift == prefix >> shift;
      if (isInside) bins[keys[i] >> next & (bins.size() - 1)] += weight(i);
    }
    auto bin = static_cast<uint32_t>(bins.size() - 1);
    for (; bin > 0 && above + bins[bin] < target; --bin) above += bins[bin];
    prefix |= bin << next;
    shift = next;
  }
  return prefix;
}

}  // namespace

void truncateRow(const Logits& z, double temperature, Truncation truncation, const TileTable& t, const RowStats& rows,
                 int64_t r) {
  const auto vocab = static_cast<size_t>(z.vocab);
  const auto inverse = static_cast<float>(1 / temperature);
  std::vector<float> widened(vocab);
  const float* row = widen(z, r, 0, z.vocab, widened.data());
  std::vector<uint32_t> keys(vocab);
  std::transform(row, row + vocab, keys.begin(), keyOf);

  uint32_t kept = 0;
  if (truncation.topK > 0 && static_cast<size_t>(truncation.topK) < vocab) {
    kept = threshold(keys, truncation.topK, [](size_t) { return 1.0; });
  }
  if (truncation.topP < 1) {
    std::vector<float> mass(vocab);
    double total = 0;
    for (size_t c = 0; c < vocab; ++c) {
      const double x = static_cast<double>(row[c]) * kLog2e - rows.exponent[r];
      mass[c] = keys[c] < kept ? 0.0f : exp2Flushed(static_cast<float>(x) * inverse);
      total += static_cast<double>(mass[c]);
    }
    kept = std::max(kept,
                    threshold(keys, truncation.topP * total, [&](size_t c) { return static_cast<double>(mass[c]); }));
  }
  const float lowest = logitOf(std::max(kept, keyOf(-std::numeric_limits<float>::infinity())));
  if (lowest == -std::numeric_limits<float>::infinity()) return;  // all are kept: the pass's own sums stand
  rows.threshold[r] = lowest;

  double sum = 0;
  for (int tile = 0; tile < z.tiles(); ++tile) {
    const int64_t at = r * z.tiles() + tile;
    double mass = 0;
    const int begin = tile * kTile, end = std::min(begin + kTile, z.vocab);
    for (int c = begin; c < end; ++c) {
      const double x = static_cast<double>(row[c]) * kLog2e - t.exponent[at];
      if (row[c] >= lowest && std::isfinite(x))
        mass += static_cast<double>(exp2Flushed(static_cast<float>(x) * inverse));
    }
    t.temperedMass[at] = mass;
    if (mass > 0) sum += mass * std::exp2((t.exponent[at] - rows.exponent[r]) / temperature);
  }
  rows.temperedMass[r] = sum;
}

}  // namespace fkinv::kernels
