#include "redraw.h"

#include <algorithm>
#include <vector>

#include "merge.h"
#include "pass.h"
#include "suppress.h"
#include "widen.h"

namespace fkinv::kernels {
namespace {

// Logits of one row, with the tables of the pass and the merge.
struct Row {
  Row(const Logits& from, int64_t r)
      : row(static_cast<size_t>(from.vocab)),
        z{row.data(), LogitsType::float32, from.vocab, &first, 1, 1, from.vocab},
        cells(static_cast<size_t>(z.tiles())),
        floats(2 * cells),
        doubles(4 * cells) {
    const float* values = widen(from, r, 0, from.vocab, row.data());
    if (values != row.data()) std::copy_n(values, row.size(), row.begin());
  }

  TileTable tiles() {
    return {floats.data(),
            doubles.data(),
            doubles.data() + cells,
            doubles.data() + 2 * cells,
            doubles.data() + 3 * cells,
            floats.data() + cells};
  }
  RowStats stats() { return {&max, &exponent, &mass, &temperedMass, &threshold, &entropy, &fault, &similarity}; }

  std::vector<float> row;
  const int64_t first = 0;
  Logits z;
  size_t cells;
  std::vector<float> floats;
  std::vector<double> doubles;
  double exponent = 0, mass = 0, temperedMass = 0;
  float max = 0, threshold = 0, entropy = 0, similarity = 0;
  RowFault fault = RowFault::none;
};

}  // namespace

std::optional<Drawn> redrawRow(const Logits& z, double temperature, Truncation truncation, int64_t r,
                               std::span<const int32_t> excluded, double u, double uInside) {
  Row row(z, r);
  suppress(row.z, excluded, {});
  float scratch[kBlock];
  for (int tile = 0; tile < row.z.tiles(); ++tile) passTile(row.z, temperature, row.tiles(), 0, tile, scratch);
  mergeState(row.z, temperature, row.tiles(), row.stats(), 0);
  if (row.fault != RowFault::none) return std::nullopt;
  if (temperature != 0 && !truncation.keepsAll()) {
    truncateRow(row.z, temperature, truncation, row.tiles(), row.stats(), 0);
  }
  return drawRow(row.z, temperature, row.tiles(), row.stats(), 0, u, uInside);
}

}  // namespace fkinv::kernels
