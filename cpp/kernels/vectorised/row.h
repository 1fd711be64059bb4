// A stretch of one row of logits, as whole vectors of float32, and as powers of two.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "../logits.h"
#include "exp2.h"
#include "vector.h"
#if !defined(FKINV_AVX512) && !defined(FKINV_AVX2)
#include "../widen.h"
#endif

namespace fkinv::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

inline int roundUp(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

void widen16(LogitsType type, const uint16_t* from, int n, float* to) {
  const bool isHalf = type == LogitsType::float16;
#if defined(FKINV_AVX512) || defined(FKINV_AVX2)
  int c = 0;
  for (; c + kLanes <= n; c += kLanes) store(to + c, isHalf ? widenFloat16s(from + c) : widenBfloat16s(from + c));
  if (c == n) return;
  uint16_t rest[kLanes] = {};
  std::memcpy(rest, from + c, sizeof(uint16_t) * static_cast<unsigned>(n - c));
  float wide[kLanes];
  store(wide, isHalf ? widenFloat16s(rest) : widenBfloat16s(rest));
  std::memcpy(to + c, wide, sizeof(float) * static_cast<unsigned>(n - c));
#else
  for (int c = 0; c < n; ++c) to[c] = isHalf ? widenFloat16(from[c]) : widenBfloat16(from[c]);
#endif
}

// Columns [first, first + n) of row `r` and −inf behind them, `whole` in all: where they are if they are float32 and
// whole already, else in `buffer` [whole].
inline const float* read(const Logits& z, int64_t r, int first, int n, int whole, float* buffer) {
  const int64_t at = z.rowOf[r] * z.rowStride + first;
  if (z.type == LogitsType::float32) {
    const float* row = static_cast<const float*>(z.data) + at;
    if (whole == n) return row;
    std::memcpy(buffer, row, sizeof(float) * static_cast<unsigned>(n));
  } else {
    widen16(z.type, static_cast<const uint16_t*>(z.data) + at, n, buffer);
  }
  for (int c = n; c < whole; ++c) buffer[c] = kMinusInfinity;
  return buffer;
}

// The largest of n floats, which are whole vectors; a comparison with NaN is false, so that NaN never wins.
inline float maximum(const float* z, int n) {
  Vector best = broadcast(kMinusInfinity);
  for (int c = 0; c < n; c += kLanes) best = larger(load(z + c), best);
  return maximumOf(best);
}

constexpr float kLowest = -62;  // 2^x is 0 in the pass where x is nearest to an integer below it

// x = z·log2e − m of vectors of logits, m an integer: by FMA, else, and where m is no float, in float64 (which holds
// the product of two floats exactly), into `buffer` [n]. The plain product is off by 2.7e-3 at |z| = 8e4.
class Exponents {
 public:
  Exponents(const float* logits, int n, double m, float* buffer) : from_(logits) {
    if (kHasFma && std::fabs(m) < 0x1p22) {
      factor_ = broadcast(static_cast<float>(kLog2e));
      summand_ = broadcast(static_cast<float>(-m));
    } else {
      for (int c = 0; c < n; ++c) buffer[c] = static_cast<float>(static_cast<double>(logits[c]) * kLog2e - m);
      from_ = buffer;
    }
    biased_ = add(summand_, broadcast(kRoundingBias));  // exact, as all sums of integers here: |m| < 2^22
  }
  Vector at(int c) const { return multiplyAdd(load(from_ + c), factor_, summand_); }
  // 2^x for x < 127.5, and 0 below kLowest − ½, so that no product of two is subnormal: some processors take a hundred
  // times as long for those, and next to a row's largest, 2^-1 and more, they are nothing. NaN stays NaN. The integer n
  // nearest to x, and x − n, are an FMA of the logit each: exp2Flushed(at(c)) would wait for x first.
  Vector power(int c) const {
    const Vector z = load(from_ + c), biased = multiplyAdd(z, factor_, biased_);
    const Vector f = multiplyAdd(z, factor_, subtract(biased_, biased));
    return whereNotBelow(biased, broadcast(kRoundingBias + kLowest), exp2OfParts(biased, f));
  }

 private:
  const float* from_;
  Vector factor_ = broadcast(1), summand_ = broadcast(0), biased_;
};

}  // namespace
}  // namespace fkinv::kernels
