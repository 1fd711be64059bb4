// Weights of a tile's tokens (kernels/instruction_set.h) in the vectors of one instruction set.
#pragma once
#include "row.h"

namespace fkinv::kernels {
namespace {

void weighTile(const Logits& z, int64_t r, int tile, double exponent, double temperature, float threshold,
               TileWeights& out) {
  const int begin = tile * kTile, n = begin + kTile < z.vocab ? kTile : z.vocab - begin;
  const int whole = roundUp(n, TileWeights::kGroup);
  float buffer[kTile], formed[kTile];
  const float* logits = read(z, r, begin, n, whole, buffer);
  const Exponents x(logits, whole, exponent, formed);
  const Vector inverse = broadcast(static_cast<float>(1 / temperature)), lowest = broadcast(threshold);
  out.total = 0;
  for (int first = 0; first < whole; first += TileWeights::kGroup) {
    Vector group = broadcast(0);
    for (int c = first; c < first + TileWeights::kGroup; c += kLanes) {
      const Vector w = whereNotBelow(load(logits + c), lowest, exp2Flushed(multiply(x.at(c), inverse)));
      store(out.ofToken + c, w);
      group = add(group, w);
    }
    const double ofGroup = sum(group);
    out.ofGroup[first / TileWeights::kGroup] = ofGroup;
    out.total += ofGroup;
  }
}

}  // namespace
}  // namespace fkinv::kernels
