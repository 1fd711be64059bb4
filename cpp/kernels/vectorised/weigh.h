// Weights of a tile's tokens (kernels/instruction_set.h) in the vectors of one instruction set.
#pragma once
#include "row.h"

namespace fkinv::kernels {
namespace {

double weighTile(const Logits& z, int64_t r, int tile, double exponent, double temperature, float threshold,
                 float* weights) {
  const int begin = tile * kTile, n = begin + kTile < z.vocab ? kTile : z.vocab - begin;
  const int whole = roundUp(n, kLanes);
  float buffer[kTile], formed[kTile];
  const float* logits = read(z, r, begin, n, buffer);
  const Exponents x(logits, whole, exponent, formed);
  const Vector inverse = broadcast(static_cast<float>(1 / temperature)), lowest = broadcast(threshold);
  DoubleSum total;
  for (int c = 0; c < whole; c += kLanes) {
    const Vector w = whereNotBelow(load(logits + c), lowest, exp2Flushed(multiply(x.at(c), inverse)));
    store(weights + c, w);
    total.add(w);
  }
  return total.total();
}

}  // namespace
}  // namespace fkinv::kernels
