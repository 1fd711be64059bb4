#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// opened[p, n] of the `count` wanted positions of highest score of each particle (kernels/open.h).
struct Choose {
  static constexpr const char* kName = "choose";

  kernels::Layout layout;
  const double* scores;   // [particles, length]
  const uint8_t* wanted;  // [particles, length]
  int count;
  uint8_t* opened;  // [particles, length]

  /// It only compares, and reads its arguments once.
  Cost cost() const { return {layout.positions() * (kMark + kDouble), 0}; }
};

}  // namespace fkinv::ops
