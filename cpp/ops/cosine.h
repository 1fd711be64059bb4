#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "cost.h"

namespace fkinv::ops {

/// rewardClip[p] = cos(text embedding textOf[p], image embedding of p's image) (kernels/cosine.h).
struct Cosine {
  static constexpr const char* kName = "cosine";

  kernels::Layout layout;
  const float* texts;     // [texts, size]
  const int32_t* textOf;  // [particles]
  const float* images;    // [images, size]
  int size;
  double* rewardClip;  // [particles]

  /// Both embeddings of each particle.
  Cost cost() const {
    const int64_t values = static_cast<int64_t>(layout.particles()) * size;
    return {2 * values * kFloat, 6 * values};
  }
};

}  // namespace fkinv::ops
