#pragma once
#include "merge.h"
#include "pass.h"
#include "truncate.h"

namespace fkinv::ops {

/// The one read of the logits as the kernels that it is made of, in their order: run(op) of each. Draws at τ = 0 are
/// the maximum, which no truncation leaves out.
template <class Run>
void readLogits(const kernels::Logits& z, double temperature, kernels::Truncation truncation,
                const kernels::PassResult& to, Run run) {
  run(Pass{z, temperature, to.tiles});
  run(Merge{z, temperature, to.tiles, to.rows});
  if (truncation.cuts(temperature)) run(Truncate{z, temperature, truncation, to.tiles, to.rows});
}

}  // namespace fkinv::ops
