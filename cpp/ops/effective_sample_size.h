#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// ess[b] of image b's log-weights; NaN where they are useless (kernels/resample.h).
struct EffectiveSampleSize {
  static constexpr const char* kName = "effectiveSampleSize";

  kernels::Layout layout;
  const double* logWeights;  // [particles]
  double* ess;               // [images]

  /// An exponential a particle.
  Cost cost() const { return {layout.particles() * kDouble, layout.particles() * (kExponential + 3)}; }
};

}  // namespace fkinv::ops
