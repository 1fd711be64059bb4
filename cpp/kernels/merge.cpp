#include "merge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "power_of_two.h"

namespace fkinv::kernels {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

void mergeRow(const Logits& z, double temperature, const TileTable& t, const RowStats& out, int64_t r) {
  const int tiles = z.tiles();
  const int64_t first = r * tiles;
  double m = kMinusInfinity;
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t at = first; at < first + tiles; ++at) {
    m = std::max(m, t.exponent[at]);
    max = std::max(max, t.max[at]);
  }
  double mass = 0, moment = 0, temperedMass = 0;
  for (int64_t at = first; at < first + tiles; ++at) {
    const double ofTile = static_cast<double>(t.mass[at]);
    if (t.exponent[at] == kMinusInfinity) {
      mass += ofTile;  // 0, or NaN
      continue;
    }
    const double shift = t.exponent[at] - m, scale = powerOfTwo(shift);
    mass += ofTile * scale;
    if (scale > 0) moment += scale * (static_cast<double>(t.moment[at]) + ofTile * shift);
    if (temperature == 0) continue;
    t.weight[at] *= static_cast<float>(temperature == 1 ? scale : std::exp2(shift / temperature));
    temperedMass += static_cast<double>(t.weight[at]);
  }
  out.max[r] = max;
  out.exponent[r] = m;
  out.mass[r] = mass;
  out.temperedMass[r] = temperedMass;
  out.threshold[r] = -std::numeric_limits<float>::infinity();
  out.entropy[r] = static_cast<float>(std::max(0.0, kLn2 * (std::log2(mass) - moment / mass)));
  out.fault[r] = mass > 0 && std::isfinite(mass) ? RowFault::none
                 : mass == 0                     ? RowFault::nothingLeft
                                                 : RowFault::notFinite;
}

}  // namespace

void mergeState(const Logits& z, double temperature, const TileTable& t, const RowStats& out, int state) {
  const int positions = z.positions, tiles = z.tiles();
  const int64_t firstRow = static_cast<int64_t>(state) * positions;
  for (int i = 0; i < positions; ++i) mergeRow(z, temperature, t, out, firstRow + i);

  std::vector<double> sums(static_cast<size_t>(z.pairs()), 0.0), scale(static_cast<size_t>(positions));
  for (int chunk = 0; chunk < z.chunks(); ++chunk) {
    const int last = std::min((chunk + 1) * kChunk, tiles) - 1;
    for (int i = 0; i < positions; ++i) {
      const int64_t r = firstRow + i;
      scale[static_cast<size_t>(i)] = powerOfTwo(t.exponent[r * tiles + last] - out.exponent[r]);
    }
    const float* gram = t.gram + (static_cast<int64_t>(state) * z.chunks() + chunk) * z.pairs();
    double* sum = sums.data();
    for (size_t i = 0; i < scale.size(); ++i) {
      for (size_t j = i; j < scale.size(); ++j) *sum++ += static_cast<double>(*gram++) * scale[i] * scale[j];
    }
  }
  float* similarity = out.gram + firstRow * positions;
  const double* sum = sums.data();
  for (int i = 0; i < positions; ++i) {
    for (int j = i; j < positions; ++j) {
      const double s = *sum++ / (out.mass[firstRow + i] * out.mass[firstRow + j]);
      similarity[i * positions + j] = similarity[j * positions + i] = static_cast<float>(s);
    }
  }
}

}  // namespace fkinv::kernels
