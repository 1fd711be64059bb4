// Numbers in whichever type a graph takes them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "library.h"

namespace fkinv::ort {

/// The bytes of `values` in `type`: float32, float16, int64 or int32. What is below the least finite float16 is that.
std::vector<uint8_t> typed(std::span<const double> values, ONNXTensorElementDataType type);

}  // namespace fkinv::ort
