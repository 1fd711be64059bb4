// What the machine can do at most: what kernels are measured against.
#pragma once
#include "parallel.h"

namespace fkinv {

/// Of all `threads` of a pool together.
struct Limits {
  int threads;
  double flopsPerSecond;  // float32, a multiplication and an addition are one each
  double bytesPerSecond;  // read from memory; what lies in a cache may be read faster
};

/// Measures both, in about half a second, and takes the best of several tries: what else the machine does can
/// only lower them. Reads 256 MiB of its own, far more than a last-level cache holds. Throws std::bad_alloc.
Limits measureLimits(ThreadPool& pool);

}  // namespace fkinv
