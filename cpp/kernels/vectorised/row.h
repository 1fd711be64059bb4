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

// Columns [first, first + n) of row `r`, −inf behind them up to a whole vector: where they are if they are float32 and
// whole vectors, else in `buffer` [roundUp(n, kLanes)].
inline const float* read(const Logits& z, int64_t r, int first, int n, float* buffer) {
  const int64_t at = z.rowOf[r] * z.rowStride + first;
  const int whole = roundUp(n, kLanes);
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

// Of n floats, n whole vectors; NaN never wins.
inline float maximum(const float* z, int n) {
  Vector best = broadcast(kMinusInfinity);
  for (int c = 0; c < n; c += kLanes) best = larger(load(z + c), best);
  return maximumOf(best);
}

// x = z·log2e − m of vectors of logits: by FMA, else, and where m is no float, in float64 (which holds the product of
// two floats exactly), into `buffer` [n]. The plain product is off by 2.7e-3 at |z| = 8e4.
class Exponents {
 public:
  Exponents(const float* logits, int n, double m, float* buffer)
      : from_(logits), isFormed_(!kHasFma || !(std::fabs(m) < 0x1p22)), minusM_(broadcast(static_cast<float>(-m))) {
    if (!isFormed_) return;
    for (int c = 0; c < n; ++c) buffer[c] = static_cast<float>(static_cast<double>(logits[c]) * kLog2e - m);
    from_ = buffer;
  }
  Vector at(int c) const {
    const Vector v = load(from_ + c);
    return isFormed_ ? v : multiplyAdd(v, broadcast(static_cast<float>(kLog2e)), minusM_);
  }

 private:
  const float* from_;
  bool isFormed_;
  Vector minusM_;
};

}  // namespace
}  // namespace fkinv::kernels
