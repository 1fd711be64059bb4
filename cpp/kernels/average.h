#pragma once
#include <span>

namespace fkinv::kernels {

/// Several images as one reference: the mean of their embeddings of `size` floats, each made unit length first, made
/// unit length again → `mean` [size]. Zero where they cancel out, NaN where one has no direction.
void average(std::span<const float* const> embeddings, int size, float* mean);

}  // namespace fkinv::kernels
