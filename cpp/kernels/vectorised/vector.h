// The widest vector of floats that this file is compiled for. For instruction_set.cpp alone, which is compiled once for
// each instruction set: everything is in an unnamed namespace, since an inline function that two of them shared would
// be linked from one of them, whatever the processor has.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(FKINV_AVX512) || defined(FKINV_AVX2)
#include <immintrin.h>
#endif

namespace fkinv::kernels {
namespace {

// Added to a float between ±127 it leaves no room for a fraction (1.5·2^23), and the exponent bits of 2^n, n the
// integer nearest to the float, in the lowest bits (127).
constexpr float kRoundingBias = 12582912.0f + 127.0f;

#if defined(FKINV_AVX512)

constexpr int kLanes = 16;
constexpr bool kHasFma = true;
constexpr int kGramColumns = 6;  // 4 × 6 sums, 6 + 1 operands: 31 of 32 registers
using Vector = __m512;

inline Vector broadcast(float x) { return _mm512_set1_ps(x); }
inline Vector load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
inline Vector multiplyAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// b where either is NaN.
inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
// 0 where a < b, else x: where either is NaN too.
inline Vector whereNotBelow(Vector a, Vector b, Vector x) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), x);
}
// x·2^n, n the integer whose sum with kRoundingBias is `biased`.
inline Vector timesPowerOfTwo(Vector x, Vector biased) {
  return multiply(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(biased), 23)));
}
inline Vector widenFloat16s(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline Vector widenBfloat16s(const uint16_t* from) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline __m256 halved(Vector x) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
  return _mm256_add_ps(_mm512_castps512_ps256(x), high);
}

#elif defined(FKINV_AVX2)

constexpr int kLanes = 8;
constexpr bool kHasFma = true;
constexpr int kGramColumns = 3;  // 4 × 3 sums, 3 + 1 operands: 16 registers
using Vector = __m256;

inline Vector broadcast(float x) { return _mm256_set1_ps(x); }
inline Vector load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
inline Vector multiplyAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
inline Vector whereNotBelow(Vector a, Vector b, Vector x) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ), x); }
inline Vector timesPowerOfTwo(Vector x, Vector biased) {
  return multiply(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(biased), 23)));
}
inline Vector widenFloat16s(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline Vector widenBfloat16s(const uint16_t* from) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline __m256 halved(Vector x) { return x; }

#else  // plain C++: four lanes in the vector extension of GCC and Clang (SSE2, NEON, …), else one float

constexpr int kGramColumns = 2;
#if defined(__FP_FAST_FMAF) || defined(__ARM_FEATURE_FMA)
constexpr bool kHasFma = true;  // a·b + c is contracted: CMakeLists.txt
#else
constexpr bool kHasFma = false;
#endif
#if defined(__GNUC__)
constexpr int kLanes = 4;
using Vector = float __attribute__((vector_size(16)));
using Bits = int32_t __attribute__((vector_size(16)));
inline Vector broadcast(float x) { return Vector{x, x, x, x}; }
inline float sumOf(Vector x) { return (x[0] + x[2]) + (x[1] + x[3]); }
#else
constexpr int kLanes = 1;
using Vector = float;
using Bits = int32_t;
inline Vector broadcast(float x) { return x; }
inline float sumOf(Vector x) { return x; }
#endif

template <class To, class From>
inline To as(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline Vector load(const float* from) {
  Vector x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
inline void store(float* to, Vector x) { std::memcpy(to, &x, sizeof x); }
inline Vector add(Vector a, Vector b) { return a + b; }
inline Vector subtract(Vector a, Vector b) { return a - b; }
inline Vector multiply(Vector a, Vector b) { return a * b; }
inline Vector multiplyAdd(Vector a, Vector b, Vector c) { return a * b + c; }
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }
inline Vector whereNotBelow(Vector a, Vector b, Vector x) { return a < b ? broadcast(0) : x; }
inline Vector timesPowerOfTwo(Vector x, Vector biased) { return x * as<Vector>(as<Bits>(biased) << 23); }

#endif

// to[i] += the sum of a_i's lanes.
inline void addSums(float* to, Vector a0, Vector a1, Vector a2, Vector a3) {
#if defined(FKINV_AVX512) || defined(FKINV_AVX2)
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(halved(a0), halved(a1)), _mm256_hadd_ps(halved(a2), halved(a3)));
  const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
  _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sums));
#else
  to[0] += sumOf(a0);
  to[1] += sumOf(a1);
  to[2] += sumOf(a2);
  to[3] += sumOf(a3);
#endif
}

inline double sum(Vector x) {
#if defined(FKINV_AVX512) || defined(FKINV_AVX2)
  const __m256 half = halved(x);
  const __m256d four = _mm256_cvtps_pd(_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
#else
  return static_cast<double>(sumOf(x));
#endif
}

// The lanes must not be NaN: which of two operands is taken then differs between instruction sets.
inline float maximumOf(Vector x) {
#if defined(FKINV_AVX512) || defined(FKINV_AVX2)
#if defined(FKINV_AVX512)
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), high);
#else
  const __m256 eight = x;
#endif
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
  float lanes[kLanes];
  store(lanes, x);
  float best = lanes[0];
  for (int l = 1; l < kLanes; ++l) best = lanes[l] > best ? lanes[l] : best;
  return best;
#endif
}

// Asks for the cache line at `at`, whatever the address: nothing is read.
inline void prefetch(const void* at) {
#if defined(__GNUC__)
  __builtin_prefetch(at, 0, 2);
#elif defined(FKINV_AVX512) || defined(FKINV_AVX2)
  _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T1);
#else
  (void)at;
#endif
}

}  // namespace
}  // namespace fkinv::kernels
