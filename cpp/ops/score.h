#pragma once
#include <cstdint>
#include <span>

#include "../kernels/layout.h"
#include "../kernels/open.h"
#include "../kernels/pass_result.h"
#include "cost.h"

namespace fkinv::ops {

/// scores[p, n] of the wanted positions, the higher the earlier they open (kernels/open.h): confidence, which is
/// `logModel`, or minus the entropy, or the margin.
struct Score {
  static constexpr const char* kName = "score";

  kernels::Order order;
  kernels::Logits z;
  kernels::TileTable tiles;
  kernels::RowStats rows;
  kernels::Layout layout;
  const int32_t* stateOf;  // [particles]
  const uint8_t* wanted;   // [particles, length]
  const double* logModel;  // [particles, length]
  double* scores;          // [particles, length]

  /// What the cost depends on besides the shapes.
  std::span<const uint8_t> marks() const { return {wanted, static_cast<std::size_t>(layout.positions())}; }

  /// Every mark, and a score where one is set. The margin re-reads the winning tile, and the maxima of the row's.
  Cost cost(std::span<const uint8_t> marked) const {
    const int64_t all = layout.positions(), scored = countOf(marked);
    if (order == kernels::Order::confidence) return {all + scored * kDouble, 0};
    if (order == kernels::Order::entropy) return {all + scored * kFloat, 0};
    return {all + scored * (z.tiles() * kFloat + tileColumns(z) * logitBytes(z)), scored * 2 * kExponential};
  }
};

}  // namespace fkinv::ops
