#include "draw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu.h"
#include "device/parallel.h"
#include "widen.h"

namespace fkinv::kernels {
namespace {

// The first of n weights with which `sum` exceeds `target`, and `sum` without it; n where none does.
template <class Weight>
int firstOver(double target, const Weight* weights, int n, double& sum) {
  for (int i = 0; i < n; ++i) {
    const double with = sum + static_cast<double>(weights[i]);
    if (with > target) return i;
    sum = with;
  }
  return n;
}

// The last positive weight of n, where rounding leaves none over the target.
int lastPositive(const float* weights, int n) {
  int last = n - 1;
  while (last > 0 && !(weights[last] > 0)) --last;
  return last;
}

// The group is found first, by the groups' sums, so that of the tokens only those in it are added up.
int pickToken(const TileWeights& weights, int width, double u) {
  constexpr int kGroup = TileWeights::kGroup;
  const int groups = (width + kGroup - 1) / kGroup;
  const double target = u * weights.total;
  double sum = 0;
  const int group = firstOver(target, weights.ofGroup, groups, sum), first = group * kGroup;
  if (group == groups) return lastPositive(weights.ofToken, width);
  const int inside = firstOver(target, weights.ofToken + first, kGroup, sum);
  if (inside < kGroup) return first + inside;
  return lastPositive(weights.ofToken, first + kGroup);  // the group's sum and the running one are rounded apart
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
  double sum = 0;
  int tile = firstOver(u * rows.temperedMass[r], t.weight + first, z.tiles(), sum);
  if (tile == z.tiles()) tile = lastPositive(t.weight + first, z.tiles());
  TileWeights weights;
  vectors.weighTile(z, r, tile, t.exponent[first + tile], temperature, rows.threshold[r], weights);
  return tile * kTile + pickToken(weights, std::min(kTile, z.vocab - tile * kTile), uInside);
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

void writeDraw(const Draws& draws, int64_t at, const Drawn& drawn) {
  draws.tokens[at] = drawn.token;
  if (draws.logModel != nullptr) draws.logModel[at] = drawn.logModel;
  if (draws.logProposal != nullptr) draws.logProposal[at] = drawn.logProposal;
}

void run(const ops::Draw& op, const Cpu& cpu) {
  const Layout& layout = op.layout;
  const Draws& draws = op.draws;
  cpu.pool.run(layout.particles(), [&](int64_t p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = p * layout.length + n;
      if (!draws.wanted[at]) continue;
      const auto [u, uInside] =
          uniforms(draws.seeds[p / layout.perImage], draws.step, static_cast<uint32_t>(p % layout.perImage),
                   static_cast<uint32_t>(n), draws.purpose, draws.guess);
      const int64_t row = static_cast<int64_t>(draws.stateOf[p]) * layout.length + n;
      writeDraw(draws, at, drawRow(cpu.vectors, op.z, op.temperature, op.tiles, op.rows, row, u, uInside));
    }
  });
}

}  // namespace fkinv::kernels
