#pragma once
#include <cstdint>
#include <span>

#include "../kernels/logits.h"
#include "cost.h"

namespace fkinv::ops {

/// K0 (kernels/suppress.h): writes −inf at `ids` into the rows of the positions that `at` marks.
struct Suppress {
  static constexpr const char* kName = "suppress";

  kernels::Logits z;
  std::span<const int32_t> ids;  // on the device
  std::span<const uint8_t> at;   // [positions] on the device; empty: everywhere

  /// Both lists once.
  Cost cost() const { return {static_cast<int64_t>(ids.size_bytes() + at.size_bytes()), 0}; }
};

}  // namespace fkinv::ops
