#pragma once
#include <cstdint>

#include "../kernels/pass_result.h"
#include "../kernels/truncate.h"
#include "cost.h"

namespace fkinv::ops {

/// Top-k, then top-p (kernels/truncate.h), of every row without a fault. τ > 0.
struct Truncate {
  static constexpr const char* kName = "truncate";

  kernels::Logits z;
  double temperature;
  kernels::Truncation truncation;
  kernels::TileTable tiles;
  kernels::RowStats rows;

  /// Every row once, as if none had a fault: two exponentials a logit for top-p, and one for the weights that are left.
  Cost cost() const {
    const int64_t logits = z.rows() * z.vocab;
    return {logits * logitBytes(z), kExponential * logits * (truncation.topP < 1 ? 3 : 1)};
  }
};

}  // namespace fkinv::ops
