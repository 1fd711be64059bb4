#pragma once
#include <cstdint>
#include <span>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// Which positions S is read at (count() in kernels/coupling.h): those before the first stop token, or `all`.
struct Count {
  static constexpr const char* kName = "count";

  kernels::Layout layout;
  const int32_t* tokens;           // [particles, length]
  std::span<const int32_t> stops;  // on the device
  bool all;
  uint8_t* counted;  // [particles, length]

  /// It only compares, and reads its arguments once.
  Cost cost() const { return {layout.positions() * kId + static_cast<int64_t>(stops.size_bytes()), 0}; }
};

}  // namespace fkinv::ops
