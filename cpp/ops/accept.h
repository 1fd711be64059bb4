#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// logProb[p] gains Σ log p of the positions that opened, logWeights[p] Σ (log p − log τ) of those drawn.
struct Accept {
  static constexpr const char* kName = "accept";

  kernels::Layout layout;
  const uint8_t* opened;      // [particles, length]
  const uint8_t* drawn;       // [particles, length]
  const double* logModel;     // [particles, length] log p
  const double* logProposal;  // [particles, length] log τ
  double* logProb;            // [particles]
  double* logWeights;         // [particles]

  /// Two marks and two numbers a position.
  Cost cost() const {
    return {layout.positions() * (2 * kMark + 2 * kDouble), 3 * static_cast<int64_t>(layout.positions())};
  }
};

}  // namespace fkinv::ops
