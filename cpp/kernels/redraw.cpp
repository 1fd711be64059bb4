#include "redraw.h"

#include <algorithm>
#include <vector>

#include "cpu.h"
#include "device/parallel.h"
#include "host_tables.h"
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
        tables({1, 1, from.vocab, kChunk}) {
    const float* values = widen(from, r, 0, from.vocab, row.data());
    if (values != row.data()) std::copy_n(values, row.size(), row.begin());
  }

  std::vector<float> row;
  const int64_t first = 0;
  Logits z;
  HostTables tables;
};

}  // namespace

std::optional<Drawn> redrawRow(const InstructionSet& vectors, const Logits& z, double temperature,
                               Truncation truncation, int64_t r, std::span<const int32_t> excluded, double u,
                               double uInside) {
  Row row(z, r);
  const auto& [tiles, rows] = row.tables.of();
  suppress(row.z, excluded, {});
  const Workspace space(1);
  for (int chunk = 0; chunk < row.z.chunks(); ++chunk) {
    vectors.passChunk(row.z, temperature, tiles, 0, chunk, space);
  }
  mergeState(row.z, temperature, tiles, rows, 0);
  if (rows.fault[0] != RowFault::none) return std::nullopt;
  if (truncation.cuts(temperature)) truncateRow(vectors, row.z, temperature, truncation, tiles, rows, 0);
  return drawRow(vectors, row.z, temperature, tiles, rows, 0, u, uInside);
}

RedrawLists::RedrawLists(std::span<const Redraw> redraws) : firstOf{0} {
  for (const Redraw& redraw : redraws) {
    places.insert(places.end(), {redraw.particle, redraw.position});
    excluded.insert(excluded.end(), redraw.excluded.begin(), redraw.excluded.end());
    firstOf.push_back(static_cast<int32_t>(excluded.size()));
  }
}

void run(const ops::Redraw& op, const Cpu& cpu) {
  const Layout& layout = op.layout;
  const Draws& draws = op.draws;
  cpu.pool.run(op.count, [&](int64_t i) {
    const int32_t p = op.places[2 * i], n = op.places[2 * i + 1];
    const std::span<const int32_t> excluded(op.excluded + op.firstOf[i], op.excluded + op.firstOf[i + 1]);
    const uint32_t attempt = (draws.guess << 16) + (static_cast<uint32_t>(excluded.size()) & 0xffff);
    const auto [u, uInside] =
        uniforms(draws.seeds[p / layout.perImage], draws.step, static_cast<uint32_t>(p % layout.perImage),
                 static_cast<uint32_t>(n), draws.purpose, attempt);
    const int64_t row = static_cast<int64_t>(draws.stateOf[p]) * layout.length + n;
    const auto drawn = redrawRow(cpu.vectors, op.z, op.temperature, op.truncation, row, excluded, u, uInside);
    op.drawn[i] = drawn ? drawn->token : -1;
    if (drawn) writeDraw(draws, static_cast<int64_t>(p) * layout.length + n, *drawn);
  });
}

}  // namespace fkinv::kernels
