#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// wanted[p, n] = tokens[p, n] is `maskId`, n lies in [first, last) and p's image is live.
struct Masked {
  static constexpr const char* kName = "masked";

  kernels::Layout layout;
  const uint8_t* live;  // [images]
  int32_t maskId;
  const int32_t* tokens;  // [particles, length]
  int first, last;
  uint8_t* wanted;  // [particles, length]

  /// It only compares, and reads its arguments once.
  Cost cost() const { return {layout.positions() * kId + layout.images, 0}; }
};

}  // namespace fkinv::ops
