#pragma once
#include <cstdint>
#include <span>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// K2b (kernels/coupling.h): rewardEdit[p] of S of p's state over p's counted positions.
struct Coupling {
  static constexpr const char* kName = "coupling";

  kernels::Layout layout;
  const float* gram;       // [states, length, length] S
  const int32_t* stateOf;  // [particles]
  const uint8_t* counted;  // [particles, length]
  double* rewardEdit;      // [particles]

  /// What the cost depends on besides the shapes.
  std::span<const uint8_t> marks() const { return {counted, static_cast<std::size_t>(layout.positions())}; }

  /// The pairs of counted positions i < j of each particle, once for the mean and once for the variance.
  Cost cost(std::span<const uint8_t> marked) const {
    const auto length = static_cast<std::size_t>(layout.length);
    int64_t pairs = 0;
    for (std::size_t first = 0; first < marked.size(); first += length) {
      const int64_t positions = countOf(marked.subspan(first, length));
      pairs += positions * (positions - 1) / 2;
    }
    return {layout.positions() * kMark + pairs * kFloat, 4 * pairs};
  }
};

}  // namespace fkinv::ops
