// 2^x of a vector.
#pragma once
#include "vector.h"

namespace fkinv::kernels {
namespace {

/// 2^(n + f) of f in [−½, ½] and the integer n that kRoundingBias was added to: 2^n, −126 ≤ n ≤ 127, times a polynomial
/// of degree 5, exact at 0, of the least relative error (9.1e-8), summed by Estrin's scheme: what the processor waits
/// for is half as long a chain as Horner's. For other n it is nothing.
inline Vector exp2OfParts(Vector biased, Vector f) {
  const Vector square = multiply(f, f);
  const Vector low = multiplyAdd(f, broadcast(6.931470036506653e-1f), broadcast(1.0f));
  const Vector middle = multiplyAdd(f, broadcast(5.550733581185341e-2f), broadcast(2.402224242687225e-1f));
  const Vector high = multiplyAdd(f, broadcast(1.326472731307149e-3f), broadcast(9.671512991189957e-3f));
  return timesPowerOfTwo(multiplyAdd(multiplyAdd(high, square, middle), square, low), biased);
}

/// 2^x for x < 127.5; exactly 0 below −126 (−inf included); NaN stays NaN. Off by at most 2.41 ulp with FMA and 2.59
/// without, over every float from −126 to 127 (test/long/kernels_check.cpp).
inline Vector exp2Flushed(Vector x) {
  const Vector bias = broadcast(kRoundingBias), biased = add(x, bias);
  return whereNotBelow(x, broadcast(-126.0f), exp2OfParts(biased, add(x, subtract(bias, biased))));
}

}  // namespace
}  // namespace fkinv::kernels
