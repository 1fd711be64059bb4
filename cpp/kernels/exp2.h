// 2^x for a whole block, written so that a compiler vectorises it.
#pragma once
#include <bit>
#include <cstdint>

namespace fkinv::kernels {

/// 2^x for x ≤ 127, within 2 ulp; exactly 0 below −126 (−inf included); NaN stays NaN. Cephes' exp2f polynomial over
/// [−½, ½]; the integer part comes from the rounding bias 1.5·2^23, so no float is converted to an integer.
inline float exp2Flushed(float x) {
  constexpr float kBias = 12582912.0f;
  const float clamped = x < -126.0f ? -126.0f : x;  // written so that NaN passes
  const float biased = clamped + kBias;
  const float f = clamped - (biased - kBias);
  const float scale = std::bit_cast<float>((std::bit_cast<uint32_t>(biased) << 23) + 0x3f800000u);
  float p = 1.535336188319500e-4f;
  p = p * f + 1.339887440266574e-3f;
  p = p * f + 9.618437357674640e-3f;
  p = p * f + 5.550332471162809e-2f;
  p = p * f + 2.402264791363012e-1f;
  p = p * f + 6.931472028550421e-1f;
  p = p * f + 1.0f;
  return x < -126.0f ? 0.0f : p * scale;
}

}  // namespace fkinv::kernels
