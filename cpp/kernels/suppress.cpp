#include "suppress.h"

#include "cpu.h"
#include "widen.h"

namespace fkinv::kernels {

void suppress(const Logits& z, std::span<const int32_t> ids, std::span<const uint8_t> at) {
  for (int64_t r = 0; r < z.rows(); ++r) {
    if (!at.empty() && at[static_cast<size_t>(r % z.positions)] == 0) continue;
    for (int32_t id : ids) erase(z, r, id);
  }
}

void run(const ops::Suppress& op, const Cpu&) { suppress(op.z, op.ids, op.at); }

}  // namespace fkinv::kernels
