// What one thread can multiply and add, as a loop that does nothing else. Everything here is of the translation unit
// that includes it: each is compiled for its own instruction set.
#pragma once
#include <cmath>
#include <cstdint>

namespace fkinv::kernels {

#if defined(__AVX512F__)
static constexpr int kFmaLanes = 16;
#elif defined(__AVX2__)
static constexpr int kFmaLanes = 8;
#else
static constexpr int kFmaLanes = 4;
#endif

/// Multiplies and adds float32 in registers alone, `flops` operations in all, each of the two counted as one; returns a
/// number that depends on all of them. Twelve chains of vectors hide the latency of every processor we know (two units
/// of 4 cycles take 8) and leave room in 16 registers. Fused where the instruction set has it.
static float multiplyAdd(int64_t flops) {
  constexpr int kFloats = 12 * kFmaLanes;
  constexpr float kFactor = 0.999f,
                  kSummand = 0.001f;  // the chains stay between 0 and kFloats: no subnormal slows them
  float chains[kFloats];
  for (int i = 0; i < kFloats; ++i) chains[i] = static_cast<float>(i);
  for (int64_t done = 0; done < flops; done += 2 * kFloats) {
    for (float& chain : chains) {
#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA)
      chain = std::fma(chain, kFactor, kSummand);
#else
      chain = chain * kFactor + kSummand;
#endif
    }
  }
  float sum = 0;
  for (float chain : chains) sum += chain;
  return sum;
}

}  // namespace fkinv::kernels
