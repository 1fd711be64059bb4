#pragma once

namespace fkinv::kernels {

/// r_CLIP = cos(a, b) of two embeddings of `size` floats, divided by both norms: models differ in whether theirs are
/// unit length. NaN where an embedding is zero or not finite.
double cosine(const float* a, const float* b, int size);

}  // namespace fkinv::kernels
