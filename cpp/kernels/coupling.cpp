#include "coupling.h"

#include <algorithm>
#include <cmath>

#include "cpu.h"

namespace fkinv::kernels {
namespace {

// f(S_ij) over the counted pairs i < j: S is symmetric, so each stands for two.
template <class F>
void eachPair(const float* gram, const uint8_t* counted, int positions, F f) {
  for (int i = 0; i < positions; ++i) {
    if (!counted[i]) continue;
    for (int j = i + 1; j < positions; ++j) {
      if (counted[j]) f(static_cast<double>(gram[i * positions + j]));
    }
  }
}

}  // namespace

Coupling coupling(const float* gram, const uint8_t* counted, int positions) {
  double sum = 0, squares = 0;
  int pairs = 0;
  eachPair(gram, counted, positions, [&](double s) {
    sum += s;
    ++pairs;
  });
  if (pairs == 0) return {0, 0, 1};
  const double mean = sum / pairs;
  eachPair(gram, counted, positions, [&](double s) { squares += (s - mean) * (s - mean); });
  const double variance = squares / pairs;
  return {mean, variance, 1 - (mean + std::sqrt(variance))};
}

void count(std::span<const int32_t> tokens, std::span<const int32_t> stops, bool all, uint8_t* counted) {
  bool before = true;
  for (size_t i = 0; i < tokens.size(); ++i) {
    before = before && std::find(stops.begin(), stops.end(), tokens[i]) == stops.end();
    counted[i] = all || before;
  }
}

void run(const ops::Count& op, const Cpu&) {
  const auto length = static_cast<size_t>(op.layout.length);
  for (int64_t first = 0; first < op.layout.positions(); first += op.layout.length) {
    count({op.tokens + first, length}, op.stops, op.all, op.counted + first);
  }
}

void run(const ops::Coupling& op, const Cpu&) {
  const int length = op.layout.length;
  const int64_t square = static_cast<int64_t>(length) * length;
  for (int64_t p = 0; p < op.layout.particles(); ++p) {
    op.rewardEdit[p] = coupling(op.gram + op.stateOf[p] * square, op.counted + p * length, length).reward;
  }
}

}  // namespace fkinv::kernels
