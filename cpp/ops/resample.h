#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "../kernels/resample.h"
#include "cost.h"

namespace fkinv::ops {

/// K4 (kernels/resample.h): ancestors, slots within the image, and log-weights 0. Images that are not due, and not
/// `resampled`, keep their particles and weights.
struct Resample {
  static constexpr const char* kName = "resample";

  kernels::Layout layout;
  kernels::Scheme scheme;
  const uint64_t* seeds;  // [images]
  uint32_t step;          // steps done
  kernels::Due due;
  uint8_t* resampled;  // [images]
  double* logWeights;  // [particles]
  int32_t* ancestors;  // [particles]

  /// Counted as if every image were resampled: which ones are is known on the device alone.
  Cost cost() const { return {layout.particles() * kDouble, layout.particles() * (kExponential + 1)}; }
};

}  // namespace fkinv::ops
