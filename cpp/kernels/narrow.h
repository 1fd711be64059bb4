// float32 as the types that a graph may take.
#pragma once
#include <bit>
#include <cstdint>

namespace fkinv::kernels {

/// IEEE binary16, rounded to the nearest and to even: subnormals, infinities and NaN too. What is too large is
/// infinite.
inline uint16_t narrowFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // from where it rounds to 2^16
  if (magnitude < 0x38800000) {
    // Below 2^-14. Adding 0.5 leaves the multiples of 2^-24 in the lowest bits, rounded as every sum is.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000);
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded >> 13) - (112 << 10));
}

}  // namespace fkinv::kernels
