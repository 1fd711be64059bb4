#pragma once
#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace fkinv::kernels {

/// An unsigned integer in the order of the logits: −0 is 0.
FKINV_HOST_DEVICE inline uint32_t keyOf(float z) {
  z += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &z, sizeof bits);
  return bits ^ (0x80000000u | (0u - (bits >> 31)));
}

/// The logit of a key.
FKINV_HOST_DEVICE inline float logitOf(uint32_t key) {
  const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float z;
  std::memcpy(&z, &bits, sizeof z);
  return z;
}

}  // namespace fkinv::kernels
