#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "../kernels/pass_result.h"
#include "cost.h"

namespace fkinv::ops {

/// Where the row of a particle's state has a fault, wanted[p, n] = 0 and tokens[p, n] = −1 − the fault.
struct Exclude {
  static constexpr const char* kName = "exclude";

  kernels::Layout layout;
  const int32_t* stateOf;           // [particles]
  const kernels::RowFault* faults;  // [states, length]
  uint8_t* wanted;                  // [particles, length]
  int32_t* tokens;                  // [particles, length]

  /// It only compares, and reads its arguments once.
  Cost cost() const { return {layout.positions() * kMark + layout.particles() * kId, 0}; }
};

}  // namespace fkinv::ops
