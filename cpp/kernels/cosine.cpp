#include "cosine.h"

#include <cmath>

#include "cpu.h"

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

void run(const ops::Cosine& op, const Cpu&) {
  for (int64_t p = 0; p < op.layout.particles(); ++p) {
    op.rewardClip[p] = cosine(op.texts + static_cast<int64_t>(op.textOf[p]) * op.size,
                              op.images + p / op.layout.perImage * op.size, op.size);
  }
}

}  // namespace fkinv::kernels
