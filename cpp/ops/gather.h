#pragma once
#include <cstddef>
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// to[p] = from[ancestor of p], rows of `rowBytes` bytes.
struct Gather {
  static constexpr const char* kName = "gather";

  kernels::Layout layout;
  const int32_t* ancestors;  // [particles] slots within the image
  const void* from;          // [particles, rowBytes]
  void* to;                  // [particles, rowBytes]
  std::size_t rowBytes;

  /// It only moves, and reads its arguments once.
  Cost cost() const { return {layout.particles() * (kId + static_cast<int64_t>(rowBytes)), 0}; }
};

}  // namespace fkinv::ops
