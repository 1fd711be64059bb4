#include "open.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "widen.h"

namespace fkinv::kernels {

int openCount(int masked, int step, int steps) { return masked / steps + (step < masked % steps ? 1 : 0); }

void choose(std::span<const double> scores, std::span<const uint8_t> wanted, int count, std::span<uint8_t> opened) {
  std::vector<size_t> positions;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) positions.push_back(i);
  }
  std::stable_sort(positions.begin(), positions.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::fill(opened.begin(), opened.end(), uint8_t{0});
  const size_t n = std::min(positions.size(), static_cast<size_t>(count));
  for (size_t i = 0; i < n; ++i) opened[positions[i]] = 1;
}

double margin(const Logits& z, const TileTable& t, const RowStats& rows, int64_t r) {
  const float first = rows.max[r];
  float second = -std::numeric_limits<float>::infinity();
  int winner = 0;
  while (t.max[r * z.tiles() + winner] != first) ++winner;
  for (int tile = 0; tile < z.tiles(); ++tile) {
    if (tile != winner) second = std::max(second, t.max[r * z.tiles() + tile]);
  }
  float widened[kTile];
  const int begin = winner * kTile, width = std::min(kTile, z.vocab - begin);
  const float* row = widen(z, r, begin, width, widened);
  bool isFound = false;  // the maximum itself, once
  for (int c = 0; c < width; ++c) {
    if (isFound || row[c] != first) {
      second = std::max(second, row[c]);
    } else {
      isFound = true;
    }
  }
  const auto probability = [&](float logit) {
    return std::exp2(static_cast<double>(logit) * kLog2e - rows.exponent[r]) / rows.mass[r];
  };
  return probability(first) - probability(second);
}

}  // namespace fkinv::kernels
