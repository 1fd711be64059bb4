#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// tokens[p, n] = drawn[p, n] where the position opened.
struct Place {
  static constexpr const char* kName = "place";

  kernels::Layout layout;
  const uint8_t* opened;  // [particles, length]
  const int32_t* drawn;   // [particles, length]
  int32_t* tokens;        // [particles, length]

  /// It only moves, and reads its arguments once.
  Cost cost() const { return {layout.positions() * (kMark + kId), 0}; }
};

}  // namespace fkinv::ops
