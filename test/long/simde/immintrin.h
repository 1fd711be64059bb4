// In place of the compiler's header, which it includes first: Intel's intrinsics of AVX-512 by SIMDe, in the
// instructions that there are.
#pragma once
#include_next <immintrin.h>
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

// What SIMDe has not, from two halves.
#include <cstring>
template <class Whole, class Half>
static inline Whole emulatedWhole(Half low, Half high) {
  Whole whole;
  std::memcpy(&whole, &low, sizeof low);
  std::memcpy(reinterpret_cast<char*>(&whole) + sizeof low, &high, sizeof high);
  return whole;
}
#define _mm512_cvtph_ps(x) \
  emulatedWhole<__m512>(_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)))
#define _mm512_cvtps_pd(x) \
  emulatedWhole<__m512d>(_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)))
#define _mm512_cvtepu16_epi32(x)                                           \
  emulatedWhole<__m512i>(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)), \
                         _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1)))
