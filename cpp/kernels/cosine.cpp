#include "cosine.h"

#include "cpu.h"
#include "widen.h"

namespace fkinv::kernels {

void run(const ops::Cosine& op, const Cpu&) {
  for (int64_t p = 0; p < op.layout.particles(); ++p) {
    const int64_t text = int64_t{op.textOf[p]} * op.size;
    const float* const image = op.images + p / op.layout.perImage * op.size;
    if (op.texts.type == LogitsType::float32) {
      const float* const a = static_cast<const float*>(op.texts.data) + text;
      op.rewardClip[p] = cosine(a, image, op.size);
    } else {
      const uint16_t* const a = static_cast<const uint16_t*>(op.texts.data) + text;
      op.rewardClip[p] = cosine([a](int i) { return widenFloat16(a[i]); }, image, op.size);
    }
  }
}

}  // namespace fkinv::kernels
