#include "draw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "exp2.h"
#include "widen.h"

namespace fkinv::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// The first of n weights whose running sum exceeds u·Σ; where rounding leaves none, the last positive one; −1 if there
// is none.
template <class Weight>
int pick(int n, double u, Weight weight) {
  double total = 0;
  for (int j = 0; j < n; ++j) total += weight(j);
  const double target = u * total;
  double sum = 0;
  int last = -1;
  for (int j = 0; j < n; ++j) {
    const double w = weight(j);
    sum += w;
    if (sum > target) return j;
    if (w > 0) last = j;
  }
  return last;
}

// One row as it is drawn from.
struct Row {
  const Logits& z;
  const TileTable& t;
  const RowStats& rows;
  int64_t r;
  std::span<const int32_t> excluded;

  bool isExcluded(int token) const { return std::find(excluded.begin(), excluded.end(), token) != excluded.end(); }
  bool excludesIn(int tile) const {
    return std::any_of(excluded.begin(), excluded.end(), [&](int32_t id) { return id / kTile == tile; });
  }
  int width(int tile) const { return std::min(kTile, z.vocab - tile * kTile); }

  // Σ over the tile → its share of the row's sum, which has the row's exponent.
  double scale(int tile, double temperature) const {
    const double shift = t.exponent[r * z.tiles() + tile] - rows.exponent[r];
    return std::isinf(shift) ? 0.0 : std::exp2(shift / temperature);
  }

  // 2^(x/τ) of the tile's tokens at or above `threshold`, which are not excluded.
  void weigh(int tile, double temperature, float threshold, float* weights) const {
    float widened[kTile];
    const float* row = widen(z, r, static_cast<int64_t>(tile) * kTile, width(tile), widened);
    const double exponent = t.exponent[r * z.tiles() + tile];
    const auto inverse = static_cast<float>(1 / temperature);
    for (int c = 0; c < width(tile); ++c) {
      const float e = exp2Flushed(static_cast<float>(static_cast<double>(row[c]) * kLog2e - exponent) * inverse);
      weights[c] = row[c] >= threshold ? e : 0.0f;
    }
    for (int32_t id : excluded) {
      if (id / kTile == tile) weights[id % kTile] = 0;
    }
  }

  double sumWithoutExcluded(int tile, double temperature, float threshold) const {
    float weights[kTile];
    weigh(tile, temperature, threshold, weights);
    double sum = 0;
    for (int c = 0; c < width(tile); ++c) sum += static_cast<double>(weights[c]);
    return sum;
  }

  // Of tile masses `table` at temperature τ, and where a token is excluded of the tile read again.
  double tileMass(int tile, const double* table, double temperature, float threshold) const {
    const double share = scale(tile, temperature);
    if (share == 0) return 0;
    const double mass =
        excludesIn(tile) ? sumWithoutExcluded(tile, temperature, threshold) : table[r * z.tiles() + tile];
    return mass * share;
  }

  double mass(double whole, const double* table, double temperature, float threshold) const {
    if (excluded.empty()) return whole;
    double sum = 0;
    for (int tile = 0; tile < z.tiles(); ++tile) sum += tileMass(tile, table, temperature, threshold);
    return sum;
  }

  int argmax() const {
    int best = -1;
    float max = kMinusInfinity;
    float widened[kTile];
    for (int tile = 0; tile < z.tiles(); ++tile) {
      if (t.max[r * z.tiles() + tile] <= max) continue;
      const float* row = widen(z, r, static_cast<int64_t>(tile) * kTile, width(tile), widened);
      for (int c = 0; c < width(tile); ++c) {
        if (row[c] <= max || isExcluded(tile * kTile + c)) continue;
        max = row[c];
        best = tile * kTile + c;
      }
    }
    return best;
  }

  int draw(double temperature, double u, double uInside) const {
    const float threshold = rows.threshold[r];
    const int tile = pick(z.tiles(), u, [&](int j) { return tileMass(j, t.temperedMass, temperature, threshold); });
    if (tile < 0) return -1;
    float weights[kTile];
    weigh(tile, temperature, threshold, weights);
    return tile * kTile + pick(width(tile), uInside, [&](int c) { return static_cast<double>(weights[c]); });
  }
};

}  // namespace

Drawn drawRow(const Logits& z, double temperature, const TileTable& t, const RowStats& rows, int64_t r, double u,
              double uInside, std::span<const int32_t> excluded) {
  const Row row = {z, t, rows, r, excluded};
  const int token = temperature == 0 ? row.argmax() : row.draw(temperature, u, uInside);
  if (token < 0) return {-1, 0, 0};
  const double x = static_cast<double>(widen(z, r, token)) * kLog2e - rows.exponent[r];
  const double mass = row.mass(rows.mass[r], t.mass, 1, kMinusInfinity);
  const double logModel = kLn2 * (x - std::log2(mass));
  if (temperature == 0) return {token, logModel, 0};
  const bool isModel = temperature == 1 && rows.threshold[r] == kMinusInfinity;
  if (isModel) return {token, logModel, logModel};
  const double tempered = row.mass(rows.temperedMass[r], t.temperedMass, temperature, rows.threshold[r]);
  return {token, logModel, kLn2 * (x / temperature - std::log2(tempered))};
}

}  // namespace fkinv::kernels
