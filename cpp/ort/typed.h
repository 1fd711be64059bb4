// Numbers in whichever type a graph takes them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "library.h"

namespace fkinv::ort {

/// The bytes of `values` in `type`: float32, float16, bfloat16, int64, int32, int8, uint8 or bool. What is below the
/// type's least finite value is that.
std::vector<uint8_t> typed(std::span<const double> values, ONNXTensorElementDataType type);

}  // namespace fkinv::ort
