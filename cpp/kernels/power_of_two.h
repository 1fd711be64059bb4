#pragma once
#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace fkinv::kernels {
namespace {

/// 2^d for an integral d ≤ 0, exactly; 0 below −1022, −inf included.
FKINV_HOST_DEVICE inline double powerOfTwo(double d) {
  if (!(d >= -1022)) return 0;
  const uint64_t bits = static_cast<uint64_t>(static_cast<int64_t>(d) + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return power;
}

}  // namespace
}  // namespace fkinv::kernels
