#include "cosine.h"

#include <cmath>

namespace fkinv::kernels {

double cosine(const float* a, const float* b, int size) {
  double ab = 0, aa = 0, bb = 0;
  for (int i = 0; i < size; ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / std::sqrt(aa * bb);
}

}  // namespace fkinv::kernels
