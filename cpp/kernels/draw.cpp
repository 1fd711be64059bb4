#include "draw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "widen.h"

namespace fkinv::kernels {
namespace {

// The first of n weights whose running sum exceeds u·total; where rounding leaves none, the last positive one. The
// running sum is kept by groups first: within them the processor need not wait for one addition after the other.
int pick(const float* weights, int n, double u, double total) {
  constexpr int kGroup = 32;
  const double target = u * total;
  double sum = 0;
  for (int first = 0; first < n; first += kGroup) {
    const int end = std::min(first + kGroup, n);
    double group = 0;
    for (int j = first; j < end; ++j) group += static_cast<double>(weights[j]);
    if (sum + group > target) {
      for (int j = first; j < end; ++j) {
        sum += static_cast<double>(weights[j]);
        if (sum > target) return j;
      }
      n = end;  // the group's sum and the running one are rounded apart
      break;
    }
    sum += group;
  }
  int last = n - 1;
  while (last > 0 && !(weights[last] > 0)) --last;
  return last;
}

int argmax(const Logits& z, const TileTable& t, const RowStats& rows, int64_t r) {
  int tile = 0;
  while (t.max[r * z.tiles() + tile] != rows.max[r]) ++tile;
  const int begin = tile * kTile, width = std::min(kTile, z.vocab - begin);
  float widened[kTile];
  const float* row = widen(z, r, begin, width, widened);
  int token = 0;
  while (token + 1 < width && row[token] != rows.max[r]) ++token;
  return begin + token;
}

int draw(const InstructionSet& vectors, const Logits& z, double temperature, const TileTable& t, const RowStats& rows,
         int64_t r, double u, double uInside) {
  const int64_t first = r * z.tiles();
  const int tile = pick(t.weight + first, z.tiles(), u, rows.temperedMass[r]);
  float weights[kTile];
  const double total = vectors.weighTile(z, r, tile, t.exponent[first + tile], temperature, rows.threshold[r], weights);
  return tile * kTile + pick(weights, std::min(kTile, z.vocab - tile * kTile), uInside, total);
}

}  // namespace

Drawn drawRow(const InstructionSet& vectors, const Logits& z, double temperature, const TileTable& t,
              const RowStats& rows, int64_t r, double u, double uInside) {
  const int token = temperature == 0 ? argmax(z, t, rows, r) : draw(vectors, z, temperature, t, rows, r, u, uInside);
  const double x = static_cast<double>(widen(z, r, token)) * kLog2e - rows.exponent[r];
  const double logModel = kLn2 * (x - std::log2(rows.mass[r]));
  if (temperature == 0) return {token, logModel, 0};
  const bool isModel = temperature == 1 && rows.threshold[r] == -std::numeric_limits<float>::infinity();
  if (isModel) return {token, logModel, logModel};
  return {token, logModel, kLn2 * (x / temperature - std::log2(rows.temperedMass[r]))};
}

}  // namespace fkinv::kernels
