#include "draw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "exp2.h"
#include "widen.h"

namespace fkinv::kernels {
namespace {

// The first of n weights whose running sum exceeds u·Σ; where rounding leaves none, the last positive one.
template <class Weight>
int pick(int n, double u, Weight weight) {
  double total = 0;
  for (int j = 0; j < n; ++j) total += weight(j);
  const double target = u * total;
  double sum = 0;
  int last = 0;
  for (int j = 0; j < n; ++j) {
    const double w = weight(j);
    sum += w;
    if (sum > target) return j;
    if (w > 0) last = j;
  }
  return last;
}

// The columns of one tile of a row.
struct Tile {
  Tile(const Logits& z, int64_t r, int tile)
      : width(std::min(kTile, z.vocab - tile * kTile)),
        row(widen(z, r, static_cast<int64_t>(tile) * kTile, width, widened)) {}
  int width;
  const float* row;
  float widened[kTile];
};

int argmax(const Logits& z, const TileTable& t, const RowStats& rows, int64_t r) {
  int tile = 0;
  while (t.max[r * z.tiles() + tile] != rows.max[r]) ++tile;
  const Tile at(z, r, tile);
  int token = 0;
  while (token + 1 < at.width && at.row[token] != rows.max[r]) ++token;
  return tile * kTile + token;
}

int draw(const Logits& z, double temperature, const TileTable& t, const RowStats& rows, int64_t r, double u,
         double uInside) {
  const int64_t first = r * z.tiles();
  const int tile = pick(z.tiles(), u, [&](int j) {
    const double shift = t.exponent[first + j] - rows.exponent[r];
    return std::isinf(shift) ? 0.0 : t.temperedMass[first + j] * std::exp2(shift / temperature);
  });
  const Tile at(z, r, tile);
  const double exponent = t.exponent[first + tile];
  const float inverse = static_cast<float>(1 / temperature);
  float weights[kTile];
  for (int c = 0; c < at.width; ++c) {
    const float x = static_cast<float>(static_cast<double>(at.row[c]) * kLog2e - exponent);
    const float e = exp2Flushed(x * inverse);
    weights[c] = at.row[c] >= rows.threshold[r] ? e : 0.0f;
  }
  return tile * kTile + pick(at.width, uInside, [&](int c) { return static_cast<double>(weights[c]); });
}

}  // namespace

Drawn drawRow(const Logits& z, double temperature, const TileTable& t, const RowStats& rows, int64_t r, double u,
              double uInside) {
  const int token = temperature == 0 ? argmax(z, t, rows, r) : draw(z, temperature, t, rows, r, u, uInside);
  const double x = static_cast<double>(widen(z, r, token)) * kLog2e - rows.exponent[r];
  const double logModel = kLn2 * (x - std::log2(rows.mass[r]));
  if (temperature == 0) return {token, logModel, 0};
  const bool isModel = temperature == 1 && rows.threshold[r] == -std::numeric_limits<float>::infinity();
  if (isModel) return {token, logModel, logModel};
  return {token, logModel, kLn2 * (x / temperature - std::log2(rows.temperedMass[r]))};
}

}  // namespace fkinv::kernels
