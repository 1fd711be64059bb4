// What one thread can multiply and add at most, as a loop that does nothing else. For instruction_set.cpp alone, as
// vector.h.
#pragma once
#include "vector.h"

namespace fkinv::kernels {
namespace {

// Twelve chains hide the latency of every processor we know (two units of 4 cycles take 8), and fit into 16 registers.
float multiplyAdds(int64_t flops) {
  constexpr int kChains = 12;
  const Vector factor = broadcast(0.999f), summand = broadcast(0.001f);  // the chains tend to 1: nothing is subnormal
  Vector chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = broadcast(static_cast<float>(i));
  for (int64_t done = 0; done < flops; done += int64_t{2} * kChains * kLanes) {
    for (Vector& chain : chains) chain = multiplyAdd(chain, factor, summand);
  }
  double all = 0;
  for (const Vector chain : chains) all += sum(chain);
  return static_cast<float>(all);
}

}  // namespace
}  // namespace fkinv::kernels
