// What the kernels share: launching, reading logits, powers of two, and what a warp or a block combines in a fixed
// order.
#pragma once
#if defined(FKINV_EMULATED)
#include "../test/cuda/emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
/// Queues kernel(…) and returns what that gave; a template's name with a comma stands in parentheses.
#define FKINV_LAUNCH(kernel, grid, block, sharedBytes, stream, ...) \
  (kernel<<<grid, block, sharedBytes, stream>>>(__VA_ARGS__), cudaGetLastError())
#endif

#include <cmath>
#include <cstdint>
#include <limits>

#include "launchers.h"

namespace fkinv::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffff;
inline constexpr int kTile = kernels::kTile;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
inline constexpr double kLog2e = kernels::kLog2e, kLn2 = kernels::kLn2;

/// Blocks of `perBlock` that hold `count` items.
inline unsigned blocksFor(int64_t count, int perBlock) {
  return static_cast<unsigned>((count + perBlock - 1) / perBlock);
}

/// The number of this thread in its grid, of one dimension.
__device__ inline int64_t threadOfGrid() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

/// The number of this warp in its grid, and of this thread in its warp.
__device__ inline int warpOfGrid() { return static_cast<int>(threadOfGrid() / kWarp); }
__device__ inline int laneOf() { return static_cast<int>(threadIdx.x % kWarp); }

// ---- Logits

/// f(an element of the logits' type), whose value means nothing.
template <class F>
cudaError_t withElement(kernels::LogitsType type, F f) {
  switch (type) {
    case kernels::LogitsType::float16:
      return f(__half{});
    case kernels::LogitsType::bfloat16:
      return f(__nv_bfloat16{});
    default:
      return f(float{});
  }
}

__device__ inline float widen(float z) { return z; }
__device__ inline float widen(__half z) { return __half2float(z); }
__device__ inline float widen(__nv_bfloat16 z) { return __bfloat162float(z); }

/// The first column of row `r`.
template <class Element>
__device__ Element* rowOf(const Logits& z, int64_t r) {
  return static_cast<Element*>(z.data) + z.rowOf[r] * z.rowStride;
}

__device__ inline int tileWidth(const Logits& z, int tile) { return min(kTile, z.vocab - tile * kTile); }

/// z·log2e − m in one rounding: in float32 where m is one, else in float64, which holds the product exactly.
__device__ inline float exponentOf(float z, double m) {
  if (fabs(m) < 0x1p22) return fmaf(z, static_cast<float>(kLog2e), static_cast<float>(-m));
  return static_cast<float>(static_cast<double>(z) * kLog2e - m);
}

/// τ, and 1/τ from the host: a division in float64 is a function of a hundred instructions.
struct Temperature {
  double value, inverse;
  explicit Temperature(double temperature) : value(temperature), inverse(1 / temperature) {}
};

/// What a logit weighs in a draw: 2^((z·log2e − exponent)/τ), 0 below the threshold. Exactly 0 below 2^-126; NaN stays.
struct Weight {
  double exponent;
  float inverse;
  float threshold;

  __device__ Weight(double m, const Temperature& temperature, float lowest)
      : exponent(m), inverse(static_cast<float>(temperature.inverse)), threshold(lowest) {}
  __device__ float operator()(float z) const {
    const float x = exponentOf(z, exponent) * inverse;
    return z < threshold || x < -126.0f ? 0.0f : exp2f(x);
  }
};

// ---- What the lanes of a warp hold, combined, on all of them

/// Every lane has the result, by a butterfly: addition and the like commute, so that every lane has the same bits.
template <class T, class Combine>
__device__ T combined(T value, Combine combine) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}
template <class T>
__device__ T sumOfWarp(T value) {
  return combined(value, [](T a, T b) { return a + b; });
}
template <class T>
__device__ T smallestOfWarp(T value) {
  return combined(value, [](T a, T b) { return b < a ? b : a; });
}
template <class T>
__device__ T largestOfWarp(T value) {
  return combined(value, [](T a, T b) { return a < b ? b : a; });
}

/// The first tile of a row, by a warp, whose maximum is `largest`; the last where none is.
__device__ inline int firstTileOf(const float* maxima, int tiles, float largest) {
  int first = tiles - 1;
  for (int tile = laneOf(); tile < tiles; tile += kWarp) {
    if (maxima[tile] == largest) first = min(first, tile);
  }
  return smallestOfWarp(first);
}

/// The sum of the lanes up to this one.
template <class T>
__device__ T sumUpToLane(T value) {
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const T below = __shfl_up_sync(kAllLanes, value, static_cast<unsigned>(distance));
    if (laneOf() >= distance) value += below;
  }
  return value;
}

/// The sum of a block's threads, on all of them, through `ofWarps` [warps] in shared memory, that nobody else uses
/// until the next barrier.
template <class T>
__device__ T sumOfBlock(T value, T* ofWarps) {
  value = sumOfWarp(value);
  if (laneOf() == 0) ofWarps[threadIdx.x / kWarp] = value;
  __syncthreads();
  T sum = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) sum += ofWarps[w];
  __syncthreads();
  return sum;
}

}  // namespace fkinv::cuda
