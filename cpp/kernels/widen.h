// Logits as float32, from whatever type ONNX Runtime gave them in.
#pragma once
#include <bit>
#include <cstdint>
#include <limits>

#include "logits.h"

namespace fkinv::kernels {

/// IEEE binary16, exactly: subnormals, infinities and NaN too. A scale by 2^112 moves the exponent's bias.
inline float widenFloat16(uint16_t half) {
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  const uint32_t scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t bits = (half & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000u : scaled;
  return std::bit_cast<float>(bits | static_cast<uint32_t>(half & 0x8000) << 16);
}

inline float widenBfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// Columns [first, first + n) of row `r`: where they are if they are float32, else widened into `to` [n].
inline const float* widen(const Logits& z, int64_t r, int64_t first, int n, float* to) {
  const int64_t at = z.rowOf[r] * z.rowStride + first;
  if (z.type == LogitsType::float32) return static_cast<const float*>(z.data) + at;
  const uint16_t* from = static_cast<const uint16_t*>(z.data) + at;
  if (z.type == LogitsType::float16) {
    for (int c = 0; c < n; ++c) to[c] = widenFloat16(from[c]);
  } else {
    for (int c = 0; c < n; ++c) to[c] = widenBfloat16(from[c]);
  }
  return to;
}

/// The logit at one place, as a float.
inline float widen(const Logits& z, int64_t r, int64_t column) {
  float value;
  return *widen(z, r, column, 1, &value);
}

/// Writes −inf.
inline void erase(const Logits& z, int64_t r, int64_t column) {
  const int64_t at = z.rowOf[r] * z.rowStride + column;
  switch (z.type) {
    case LogitsType::float32:
      static_cast<float*>(z.data)[at] = -std::numeric_limits<float>::infinity();
      return;
    case LogitsType::float16:
      static_cast<uint16_t*>(z.data)[at] = 0xfc00;
      return;
    case LogitsType::bfloat16:
      static_cast<uint16_t*>(z.data)[at] = 0xff80;
      return;
  }
}

}  // namespace fkinv::kernels
