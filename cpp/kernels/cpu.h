// The kernels on the host's processor: one run() for each op, beside the arithmetic that it is made of.
#pragma once
#include "../ops/ops.h"
#include "instruction_set.h"

namespace fkinv {
class ThreadPool;
}

namespace fkinv::kernels {

/// What the kernels run on. No result depends on how many threads the pool has.
struct Cpu {
  const InstructionSet& vectors;
  ThreadPool& pool;
};

#define FKINV_RUN(Name) void run(const ops::Name& op, const Cpu& cpu);
FKINV_OPS(FKINV_RUN)
#undef FKINV_RUN

}  // namespace fkinv::kernels
