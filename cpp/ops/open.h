#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// The order `random` (kernels/open.h): opened[p, n] = wanted[p, n], and the position opens at this step of its block.
struct Open {
  static constexpr const char* kName = "open";

  kernels::Layout layout;
  const uint64_t* seeds;  // [images]
  uint32_t step;          // steps done, by which the uniforms are drawn
  kernels::Block block;
  const uint8_t* wanted;  // [particles, length]
  uint8_t* opened;        // [particles, length]

  /// It only compares, and reads its arguments once.
  Cost cost() const { return {layout.positions() * kMark + layout.images * kSeed, 0}; }
};

}  // namespace fkinv::ops
