#pragma once
#include <cstdint>

#include "cost.h"

namespace fkinv::ops {

/// Several images as one reference (kernels/average.h); one is taken as it is.
struct Average {
  static constexpr const char* kName = "average";

  const float* const* embeddings;  // [count] pointers to embeddings [size], the list on the device too
  int count, size;
  float* mean;  // [size]

  /// Each embedding once.
  Cost cost() const {
    const int64_t values = static_cast<int64_t>(count) * size;
    return {values * kFloat, count == 1 ? 0 : 4 * values + 3 * int64_t{size}};
  }
};

}  // namespace fkinv::ops
