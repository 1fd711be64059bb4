#include "merge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu.h"
#include "device/parallel.h"
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

  const auto N = static_cast<size_t>(positions), chunks = static_cast<size_t>(z.chunks());
  std::vector<double> scales(chunks * N), sums(N);  // [chunks, positions] s_i; of one row of S
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    const int last = std::min((static_cast<int>(chunk) + 1) * kChunk, tiles) - 1;
    for (size_t i = 0; i < N; ++i) {
      const int64_t r = firstRow + static_cast<int64_t>(i);
      scales[chunk * N + i] = powerOfTwo(t.exponent[r * tiles + last] - out.exponent[r]);
    }
  }
  const float* grams = t.gram + static_cast<int64_t>(state) * z.chunks() * z.pairs();
  float* similarity = out.gram + firstRow * positions;
  const double* masses = out.mass + firstRow;
  for (size_t i = 0, firstPair = 0; i < N; firstPair += N - i++) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t chunk = 0; chunk < chunks; ++chunk) {
      const double* scale = scales.data() + chunk * N;
      const float* pair = grams + chunk * static_cast<size_t>(z.pairs()) + firstPair;
      for (size_t j = i; j < N; ++j) sums[j] += static_cast<double>(*pair++) * scale[i] * scale[j];
    }
    for (size_t j = i; j < N; ++j) {
      similarity[i * N + j] = similarity[j * N + i] = static_cast<float>(sums[j] / (masses[i] * masses[j]));
    }
  }
}

void run(const ops::Merge& op, const Cpu& cpu) {
  cpu.pool.run(op.z.states,
               [&](int64_t state) { mergeState(op.z, op.temperature, op.tiles, op.rows, static_cast<int>(state)); });
}

}  // namespace fkinv::kernels
