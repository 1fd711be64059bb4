#include "machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>

namespace fkinv {
namespace {

constexpr int64_t kPiecesPerThread = 4;               // so that a thread that was late has less to do
constexpr int64_t kFlops = 20'000'000;                // of a piece: about a millisecond
constexpr int64_t kFloats = int64_t{256} << 18;       // of the buffer: 256 MiB
constexpr int64_t kFloatsOfPiece = int64_t{1} << 18;  // 1 MiB

// The most `units` a second that piece(0) … piece(count − 1), run by the pool, come to in so many tries.
double best(ThreadPool& pool, int tries, int64_t count, double units, const std::function<float(int64_t)>& piece) {
  std::atomic<float> sink{0};  // what the pieces give must be used, or they are optimised away
  double rate = 0;
  for (int i = 0; i < tries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(count, [&](int64_t at) { sink.store(piece(at), std::memory_order_relaxed); });
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    rate = std::max(rate, units / taken.count());
  }
  return rate;
}

float sum(const float* values) {
  constexpr int kLanes = 64;  // independent sums: the additions wait for memory alone
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < kFloatsOfPiece; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += values[i + l];
  }
  float all = 0;
  for (float lane : lanes) all += lane;
  return all;
}

}  // namespace

Limits measureLimits(ThreadPool& pool, const kernels::InstructionSet& vectors) {
  const int64_t pieces = pool.threads() * kPiecesPerThread;
  const double flops = best(pool, 32, pieces, static_cast<double>(pieces * kFlops),
                            [&](int64_t) { return vectors.multiplyAdds(kFlops); });

  const auto buffer = std::make_unique_for_overwrite<float[]>(kFloats);
  const int64_t parts = kFloats / kFloatsOfPiece;
  pool.run(parts, [&](int64_t part) { std::fill_n(&buffer[part * kFloatsOfPiece], kFloatsOfPiece, 1.0f); });
  const double bytes = best(pool, 8, parts, static_cast<double>(kFloats) * sizeof(float),
                            [&](int64_t part) { return sum(&buffer[part * kFloatsOfPiece]); });
  return {pool.threads(), flops, bytes};
}

}  // namespace fkinv
