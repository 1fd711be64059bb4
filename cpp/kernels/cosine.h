#pragma once

#include <cmath>

namespace fkinv::kernels {

/// r_CLIP = cos(a, b) of two embeddings of `size` floats, that of `a(i)` and that at `b`, divided by both norms: models
/// differ in whether theirs are unit length. NaN where an embedding is zero or not finite.
template <class Element>
double cosine(Element a, const float* b, int size) {
  double ab = 0, aa = 0, bb = 0;
  for (int i = 0; i < size; ++i) {
    const double x = static_cast<double>(a(i)), y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / std::sqrt(aa * bb);
}
inline double cosine(const float* a, const float* b, int size) {
  return cosine([a](int i) { return a[i]; }, b, size);
}

}  // namespace fkinv::kernels
