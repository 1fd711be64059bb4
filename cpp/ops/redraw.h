#pragma once
#include <cstdint>

#include "../kernels/layout.h"
#include "../kernels/pass_result.h"
#include "../kernels/truncate.h"
#include "cost.h"

namespace fkinv::ops {

/// K3 at `count` places only, with tokens excluded there (kernels/redraw.h, whose RedrawLists makes the lists): a draw
/// from a copy of the row, by pass, merge and truncate of that.
struct Redraw {
  static constexpr const char* kName = "redraw";

  kernels::Logits z;
  double temperature;
  kernels::Truncation truncation;
  kernels::Layout layout;
  kernels::Draws draws;
  int count;
  const int32_t* places;      // [count, 2] a particle and a position
  const int32_t* excluded;    // those of place i are excluded[firstOf[i]] … excluded[firstOf[i + 1] − 1]
  const int32_t* firstOf;     // [count + 1]
  int32_t* drawn;             // [count] the tokens, −1 where nothing is left and nothing was written
  void* workspace = nullptr;  // what a GPU works in, which its device provides; unused on the CPU

  /// Each reads its row once.
  Cost cost() const {
    const int64_t logits = static_cast<int64_t>(count) * z.vocab;
    return {logits * logitBytes(z), logits * (kExponential + 2)};
  }
};

}  // namespace fkinv::ops
