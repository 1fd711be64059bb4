// 2^x of a vector.
#pragma once
#include "vector.h"

namespace fkinv::kernels {
namespace {

/// 2^x for x < 127.5; exactly 0 below −126 (−inf included); NaN stays NaN. Cephes' exp2f polynomial over [−½, ½]. Over
/// every float from −126 to 127 it is off by at most 1.1 ulp with FMA (AVX2, AVX-512) and 2.0 ulp without
/// (test/long/engine_check.cpp measures it).
inline Vector exp2Flushed(Vector x) {
  const Vector lowest = broadcast(-126.0f);
  const Vector clamped = larger(lowest, x);  // NaN passes
  const Vector n = roundToInteger(clamped);
  const Vector f = subtract(clamped, n);
  Vector p = broadcast(1.535336188319500e-4f);
  p = multiplyAdd(p, f, broadcast(1.339887440266574e-3f));
  p = multiplyAdd(p, f, broadcast(9.618437357674640e-3f));
  p = multiplyAdd(p, f, broadcast(5.550332471162809e-2f));
  p = multiplyAdd(p, f, broadcast(2.402264791363012e-1f));
  p = multiplyAdd(p, f, broadcast(6.931472028550421e-1f));
  p = multiplyAdd(p, f, broadcast(1.0f));
  return whereNotBelow(x, lowest, timesPowerOfTwo(p, n));
}

}  // namespace
}  // namespace fkinv::kernels
