#include "open.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu.h"
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

void run(const ops::Masked& op, const Cpu&) {
  const Layout& layout = op.layout;
  for (int64_t p = 0; p < layout.particles(); ++p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = p * layout.length + n;
      op.wanted[at] = op.live[p / layout.perImage] && n >= op.first && n < op.last && op.tokens[at] == op.maskId;
    }
  }
}

void run(const ops::Exclude& op, const Cpu&) {
  const Layout& layout = op.layout;
  for (int p = 0; p < layout.particles(); ++p) {
    const RowFault* const ofState = op.faults + static_cast<int64_t>(op.stateOf[p]) * layout.length;
    for (int n = 0; n < layout.length; ++n) {
      if (ofState[n] == RowFault::none) continue;
      const int64_t at = static_cast<int64_t>(p) * layout.length + n;
      op.wanted[at] = 0;
      op.tokens[at] = -1 - static_cast<int32_t>(ofState[n]);
    }
  }
}

void run(const ops::Open& op, const Cpu&) {
  const Layout& layout = op.layout;
  for (int p = 0; p < layout.particles(); ++p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = static_cast<int64_t>(p) * layout.length + n;
      const double u = uniforms(op.seeds[p / layout.perImage], op.step, static_cast<uint32_t>(p % layout.perImage),
                                static_cast<uint32_t>(n), Purpose::opening)
                           .u;
      op.opened[at] = op.wanted[at] && opens(op.block.step, op.block.steps, u);
    }
  }
}

void run(const ops::Score& op, const Cpu&) {
  const Layout& layout = op.layout;
  for (int64_t p = 0; p < layout.particles(); ++p) {
    for (int n = 0; n < layout.length; ++n) {
      const int64_t at = p * layout.length + n, row = static_cast<int64_t>(op.stateOf[p]) * layout.length + n;
      if (!op.wanted[at]) continue;
      op.scores[at] = op.order == Order::confidence ? op.logModel[at]
                      : op.order == Order::entropy  ? -static_cast<double>(op.rows.entropy[row])
                                                    : margin(op.z, op.tiles, op.rows, row);
    }
  }
}

void run(const ops::Choose& op, const Cpu&) {
  const auto length = static_cast<size_t>(op.layout.length);
  for (int64_t first = 0; first < op.layout.positions(); first += op.layout.length) {
    choose({op.scores + first, length}, {op.wanted + first, length}, op.count, {op.opened + first, length});
  }
}

void run(const ops::Place& op, const Cpu&) {
  for (int64_t at = 0; at < op.layout.positions(); ++at) {
    if (op.opened[at]) op.tokens[at] = op.drawn[at];
  }
}

void run(const ops::Accept& op, const Cpu&) {
  const Layout& layout = op.layout;
  for (int64_t p = 0; p < layout.particles(); ++p) {
    double ofTokens = 0, weight = 0;
    for (int64_t at = p * layout.length; at < (p + 1) * layout.length; ++at) {
      if (op.opened[at]) ofTokens += op.logModel[at];
      if (op.drawn[at]) weight += op.logModel[at] - op.logProposal[at];
    }
    op.logProb[p] += ofTokens;
    op.logWeights[p] += weight;
  }
}

}  // namespace fkinv::kernels
