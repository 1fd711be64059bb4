#pragma once
#include <cstdint>

#include "../kernels/pass_result.h"
#include "cost.h"

namespace fkinv::ops {

/// K1 (kernels/pass.h): the one read of the logits, into `tiles`.
struct Pass {
  static constexpr const char* kName = "pass";

  kernels::Logits z;
  double temperature;
  kernels::TileTable tiles;

  /// Every logit once; the upper triangle of the Gram, and an exponential each, two of them where τ is not 1.
  Cost cost() const {
    const int64_t logits = z.rows() * z.vocab, gram = static_cast<int64_t>(z.states) * z.pairs() * z.vocab;
    const int64_t exponentials = temperature == 0 || temperature == 1 ? logits : 2 * logits;
    return {logits * logitBytes(z), 2 * gram + kExponential * exponentials};
  }
};

}  // namespace fkinv::ops
