// Instructions that C++ has no name for, each with a twin for the CPU.
#pragma once
#include <cmath>
#include <cstdint>

#include "common.cuh"

#if !defined(FKINV_EMULATED) && defined(__CUDA_ARCH__)
#define FKINV_ARCH __CUDA_ARCH__
#endif

namespace fkinv::cuda {

/// 2^x, off by 2 units in the last place; 0 where that is below 2^-126. NaN stays.
__device__ inline float exp2Flushed(float x) {
#if defined(FKINV_EMULATED)
  const float power = std::exp2(x);
  return power < 0x1p-126f ? 0.0f : power;
#else
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
#endif
}

/// C += A·B of a warp, 16 × 16 by 16 × 8, of float16 with float32 sums. With g = lane/4 and t = lane%4 a lane holds of
/// C the columns 2t, 2t + 1 of row g, then of row g + 8; of A the k 2t, 2t + 1 of row g, of row g + 8, and the k 2t +
/// 8, 2t + 9 of both; of B the same k, first and last two, of column g. So what is A's rows g is B's columns g, too.
__device__ inline void multiplyAdd(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(FKINV_EMULATED) && FKINV_ARCH >= 800
  emulator::mma<16>(c, a, b);
#elif defined(FKINV_EMULATED)
  emulator::mma<8>(c, {a[0], a[1]}, {b[0]});
  emulator::mma<8>(c, {a[2], a[3]}, {b[1]});
#elif FKINV_ARCH >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  for (int k = 0; k < 2; ++k) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2 * k]), "r"(a[2 * k + 1]), "r"(b[k]));
  }
#endif
}

}  // namespace fkinv::cuda
