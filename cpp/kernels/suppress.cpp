#include "suppress.h"

#include <limits>

namespace fkinv::kernels {

void suppress(const Logits& z, std::span<const int32_t> suppressed, std::span<const int32_t> stops, int minLength) {
  constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
  for (int64_t r = 0; r < z.rows(); ++r) {
    float* row = z.row(r);
    for (int32_t id : suppressed) row[id] = kMinusInfinity;
    if (r % z.positions < minLength) {
      for (int32_t id : stops) row[id] = kMinusInfinity;
    }
  }
}

}  // namespace fkinv::kernels
