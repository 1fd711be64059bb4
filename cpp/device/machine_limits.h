// What the machine can do at most: what kernels are measured against.
#pragma once
#include "kernels/instruction_set.h"
#include "parallel.h"

namespace fkinv {

/// What a machine can do at most, all `threads` of a pool together.
struct Limits {
  int threads;
  double flopsPerSecond;  // float32, a multiplication and an addition are one each
  double bytesPerSecond;  // read from memory; what lies in a cache may be read faster
};

/// Measures both with the kernels' vectors, in about half a second, and takes the best of several tries: what else the
/// machine does can only lower them. Reads 256 MiB of its own, more than most last-level caches hold. Throws
/// std::bad_alloc.
Limits measureLimits(ThreadPool& pool, const kernels::InstructionSet& vectors);

}  // namespace fkinv
