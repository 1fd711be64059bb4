#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "../kernels/logits.h"
#include "cost.h"

namespace fkinv::ops {

/// Embeddings as a graph gave them, in float32 or in float16.
struct Embeddings {
  const void* data;
  kernels::LogitsType type;
};

/// rewardClip[p] = cos(text embedding textOf[p], image embedding of p's image) (kernels/cosine.h).
struct Cosine {
  static constexpr const char* kName = "cosine";

  kernels::Layout layout;
  Embeddings texts;       // [texts, size]
  const int32_t* textOf;  // [particles]
  const float* images;    // [images, size]
  int size;
  double* rewardClip;  // [particles]

  /// Both embeddings of each particle.
  Cost cost() const {
    const int64_t values = static_cast<int64_t>(layout.particles()) * size;
    const int64_t textBytes = texts.type == kernels::LogitsType::float32 ? kFloat : kFloat / 2;
    return {values * (kFloat + textBytes), 6 * values};
  }
};

}  // namespace fkinv::ops
