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
        exponents(cells),
        floats(4 * cells + static_cast<size_t>(z.chunks())) {
    const float* values = widen(from, r, 0, from.vocab, row.data());
    if (values != row.data()) std::copy_n(values, row.size(), row.begin());
  }

  TileTable tiles() {
    float* const at = floats.data();
    return {at, exponents.data(), at + cells, at + 2 * cells, at + 3 * cells, at + 4 * cells};
  }
  RowStats stats() { return {&max, &exponent, &mass, &temperedMass, &threshold, &entropy, &fault, &similarity}; }

  std::vector<float> row;
  const int64_t first = 0;
  Logits z;
  size_t cells;
  std::vector<double> exponents;
  std::vector<float> floats;
  double exponent = 0, mass = 0, temperedMass = 0;
  float max = 0, threshold = 0, entropy = 0, similarity = 0;
  RowFault fault = RowFault::none;
};

}  // namespace

std::optional<Drawn> redrawRow(const InstructionSet& vectors, const Logits& z, double temperature,
                               Truncation truncation, int64_t r, std::span<const int32_t> excluded, double u,
                               double uInside) {
  Row row(z, r);
  suppress(row.z, excluded, {});
  const Workspace space(1);
  for (int chunk = 0; chunk < row.z.chunks(); ++chunk) {
    vectors.passChunk(row.z, temperature, row.tiles(), 0, chunk, space);
  }
  mergeState(row.z, temperature, row.tiles(), row.stats(), 0);
  if (row.fault != RowFault::none) return std::nullopt;
  if (temperature != 0 && !truncation.keepsAll()) {
    truncateRow(vectors, row.z, temperature, truncation, row.tiles(), row.stats(), 0);
  }
  return drawRow(vectors, row.z, temperature, row.tiles(), row.stats(), 0, u, uInside);
}

}  // namespace fkinv::kernels
