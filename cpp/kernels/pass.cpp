#include "pass.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "exp2.h"
#include "widen.h"

namespace fkinv::kernels {
namespace {

constexpr int kLanes = 16;  // independent partial sums, added in a fixed order
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Maximum of n floats; NaN never wins.
float maximum(const float* z, int n) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, kMinusInfinity);
  int c = 0;
  for (; c + kLanes <= n; c += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] = z[c + l] > lanes[l] ? z[c + l] : lanes[l];
  }
  for (; c < n; ++c) lanes[0] = z[c] > lanes[0] ? z[c] : lanes[0];
  float best = lanes[0];
  for (float lane : lanes) best = lane > best ? lane : best;
  return best;
}

double sumLanes(const float* lanes) {
  double sum = 0;
  for (int l = 0; l < kLanes; ++l) sum += static_cast<double>(lanes[l]);
  return sum;
}

float dot(const float* a, const float* b) {
  float lanes[kLanes] = {};
  for (int c = 0; c < kBlock; c += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += a[c + l] * b[c + l];
  }
  return static_cast<float>(sumLanes(lanes));
}

struct BlockSums {
  double mass, moment, temperedMass;
};

// z[0, n) → e[0, kBlock), zero past n, and the block's sums. `tempered` asks for Σ 2^(x/τ) too.
BlockSums exponentiate(const float* z, int n, double exponent, bool tempered, double temperature, float* e) {
  float x[kBlock];
  for (int c = 0; c < n; ++c) x[c] = static_cast<float>(static_cast<double>(z[c]) * kLog2e - exponent);
  std::fill(x + n, x + kBlock, kMinusInfinity);
  float mass[kLanes] = {}, moment[kLanes] = {};
  for (int c = 0; c < kBlock; c += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float v = x[c + l], p = exp2Flushed(v);
      e[c + l] = p;
      mass[l] += p;
      moment[l] += (v < -126.0f ? -126.0f : v) * p;  // 0 · −inf would be NaN
    }
  }
  BlockSums sums = {sumLanes(mass), sumLanes(moment), 0};
  if (tempered) {
    const float inverse = static_cast<float>(1 / temperature);
    float lanes[kLanes] = {};
    for (int c = 0; c < kBlock; c += kLanes) {
      for (int l = 0; l < kLanes; ++l) lanes[l] += exp2Flushed(x[c + l] * inverse);
    }
    sums.temperedMass = sumLanes(lanes);
  } else {
    sums.temperedMass = sums.mass;
  }
  return sums;
}

}  // namespace

void passTile(const Logits& z, double temperature, const TileTable& out, int state, int tile, float* scratch) {
  const int positions = z.positions, tiles = z.tiles();
  const int begin = tile * kTile, end = std::min(begin + kTile, z.vocab);
  const int64_t firstRow = static_cast<int64_t>(state) * positions;
  const bool tempered = temperature != 1 && temperature != 0;
  const auto entry = [&](int position) { return (firstRow + position) * tiles + tile; };

  float widened[kTile];
  for (int i = 0; i < positions; ++i) {
    const int64_t at = entry(i);
    const float max = maximum(widen(z, firstRow + i, begin, end - begin, widened), end - begin);
    out.max[at] = max;
    out.exponent[at] = std::ceil(static_cast<double>(max) * kLog2e);  // −inf stays −inf
    out.mass[at] = out.moment[at] = out.temperedMass[at] = 0;
  }
  float* gram = out.gram + (static_cast<int64_t>(state) * tiles + tile) * z.pairs();
  std::fill_n(gram, z.pairs(), 0.0f);

  for (int column = begin; column < end; column += kBlock) {
    const int width = std::min(kBlock, end - column);
    for (int i = 0; i < positions; ++i) {
      const int64_t at = entry(i);
      // A row with nothing in this tile still looks for NaN: −inf − 0 gives 0, NaN stays.
      const double exponent = out.exponent[at] == kMinusInfinity ? 0 : out.exponent[at];
      const BlockSums sums = exponentiate(widen(z, firstRow + i, column, width, widened), width, exponent, tempered,
                                          temperature, scratch + static_cast<int64_t>(i) * kBlock);
      out.mass[at] += sums.mass;
      out.moment[at] += sums.moment;
      out.temperedMass[at] += sums.temperedMass;
    }
    float* pair = gram;
    for (int i = 0; i < positions; ++i) {
      for (int j = i; j < positions; ++j) {
        *pair++ += dot(scratch + static_cast<int64_t>(i) * kBlock, scratch + static_cast<int64_t>(j) * kBlock);
      }
    }
  }
}

}  // namespace fkinv::kernels
