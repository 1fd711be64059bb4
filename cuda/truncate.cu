// Top-k, then top-p (kernels/truncate.h): the threshold θ of each row without a fault, then the weights W_j = Σ_{z ≥ θ}
// 2^((z·log2e − m)/τ) of its tiles and their sum, in float64 and in a fixed order.
//
// θ comes from radix histograms over the logits as integers in their order (kernels/key.h), of 10, 11 and 11 bits: the
// highest key such that the tokens from it upward weigh what is asked for. For top-k a token weighs 1, for top-p its
// tempered mass as an integer: the row's largest lies in [2^42, 2^43), what is behind the point is cut off. Integers
// sum exactly in whatever order: the same bits always, and the set that the CPU keeps but where its mass is within
// 2^-20 of p.
//
// What cannot decide is not looked at: for top-k tokens below the k-th largest of the tiles' maxima, for top-p those
// with (1 − p)/V of the largest mass or less, as V of them have 1 − p of the whole at most. Tiles without others are
// not read.
//
// z [Q, N, V]. A block of 512 threads a row, a warp a tile; 16.5 KB of shared memory.
//
// Bytes a row, at most: 3 reads of it (2 of 16-bit logits) for each of top-k and top-p, and one of the tiles with kept
// tokens. FLOPs: V powers of two in each of top-p's reads and in the last one; an atomic addition in shared memory for
// a token that may decide.
//
// Floor of top-p, computed and not measured, for N = 77, V = 126464 and float16, all tiles read: 58 MB a state, 76 µs
// on an A6000 (768 GB/s) and 17 µs on an H100 (3.35 TB/s).
#include <cstring>

#include "../cpp/kernels/key.h"
#include "inverse_cdf.cuh"

namespace fkinv::cuda {
namespace {

using kernels::keyOf;
using kernels::logitOf;

constexpr int kThreads = 512, kWarps = kThreads / kWarp;
constexpr int kBlocks = 2;  // of a multiprocessor: 64 registers a thread, with fewer some would be spilled
constexpr int kBins = 2048, kBinsOfThread = kBins / kThreads;
constexpr int kLargestBits = 43;  // of the row's largest mass as an integer: sums of 2^20 of them fit into 64

// Weights by a few bits of the keys, in shared memory. Sums have two halves, as the hardware adds 32 bits at once.
struct Histogram {
  uint32_t low[kBins], high[kBins];
  uint64_t ofWarps[kWarps];
  uint64_t aboveFound;
  uint32_t found;

  __device__ void clear() {
    for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kThreads) low[bin] = high[bin] = 0;
    __syncthreads();
  }
  __device__ void add(uint32_t bin, uint64_t weight) {
    const auto lower = static_cast<uint32_t>(weight);
    const uint32_t carry = atomicAdd(&low[bin], lower) > ~lower ? 1 : 0;
    const uint32_t upper = static_cast<uint32_t>(weight >> 32) + carry;
    if (upper != 0) atomicAdd(&high[bin], upper);
  }
  __device__ uint64_t of(int bin) const { return static_cast<uint64_t>(high[bin]) << 32 | low[bin]; }

  // After a barrier: the highest bin such that the weights from it upward, with `above`, reach `target`; `above` gains
  // those above it. Where all together do not, the lowest. A thread has four bins, thread 0 the highest.
  __device__ uint32_t find(uint64_t target, uint64_t& above) {
    const int highest = kBins - 1 - static_cast<int>(threadIdx.x) * kBinsOfThread;
    const int lowest = highest - kBinsOfThread + 1;
    uint64_t own = 0;
    for (int bin = lowest; bin <= highest; ++bin) own += of(bin);
    const uint64_t upToLane = sumUpToLane(own);
    if (laneOf() == kWarp - 1) ofWarps[threadIdx.x / kWarp] = upToLane;
    __syncthreads();
    uint64_t before = above + upToLane - own;
    for (unsigned w = 0; w < threadIdx.x / kWarp; ++w) before += ofWarps[w];
    if (before < target && (before + own >= target || lowest == 0)) {
      int bin = highest;
      for (; bin > lowest && before + of(bin) < target; --bin) before += of(bin);
      found = static_cast<uint32_t>(bin);
      aboveFound = before;
    }
    __syncthreads();
    above = aboveFound;
    return found;
  }
};

// The highest key such that the weights of the keys from it upward sum to target(), at least 1, or more. each(lowest,
// f) calls f(key, weight) for every token whose key is at least `lowest`, in any order; target() is asked for after the
// first time, for which `lowest` is 0.
template <class Element, class Target, class Each>
__device__ uint32_t threshold(Histogram& histogram, Target target, Each each) {
  uint32_t lowest = 0;  // of those that the bits known so far leave
  uint64_t wanted = 0, above = 0;
  for (int shift = 22; shift >= 0; shift -= 11) {
    histogram.clear();
    each(lowest, [&](uint32_t key, uint64_t weight) {
      const uint32_t bin = (key - lowest) >> shift;
      if (bin < kBins) histogram.add(bin, weight);
    });
    __syncthreads();
    if (shift == 22) wanted = target();
    lowest += histogram.find(wanted, above) << shift;
    // Of a 16-bit logit no bits are left but zeros, which a negative one's key has inverted.
    if (sizeof(Element) == 2 && shift == 11) return lowest < 0x80000000u ? lowest | 0x7ffu : lowest;
  }
  return lowest;
}

// What a block knows of its row: the maxima of its tiles, and which of its logits are weighed.
template <class Element>
struct Row {
  const Element* logits;
  const float* maxima;
  int vocab, tiles;

  // f(z, its key) of all logits whose key is at least `lowest`, a tile a warp.
  template <class F>
  __device__ void each(uint32_t lowest, F f) const {
    for (int tile = static_cast<int>(threadIdx.x) / kWarp; tile < tiles; tile += kWarps) {
      if (keyOf(maxima[tile]) < lowest) continue;
      const int end = min(vocab, (tile + 1) * kTile);
      for (int c = tile * kTile + laneOf(); c < end; c += kWarp) {
        const float z = widen(logits[c]);
        const uint32_t key = keyOf(z);
        if (key >= lowest) f(z, key);
      }
    }
  }
};

// The key of the k-th largest logit.
template <class Element>
__device__ uint32_t topKey(Histogram& histogram, const Row<Element>& row, int k) {
  const auto target = [=] { return static_cast<uint64_t>(k); };
  uint32_t least = 0;  // k tiles have a token from here upward
  if (k <= row.tiles) {
    least = threshold<Element>(histogram, target, [&](uint32_t, auto f) {
      for (int tile = static_cast<int>(threadIdx.x); tile < row.tiles; tile += kThreads) f(keyOf(row.maxima[tile]), 1);
    });
  }
  return threshold<Element>(histogram, target, [&](uint32_t lowest, auto f) {
    row.each(max(lowest, least), [&](float, uint32_t key) { f(key, 1); });
  });
}

__device__ int exponentBits(float mass) {
  uint32_t bits;
  std::memcpy(&bits, &mass, sizeof bits);
  return static_cast<int>(bits >> 23);
}

// A mass as an integer: its 24 binary digits, moved by the distance of its exponent from `unit`.
__device__ uint64_t integerOf(float mass, int unit) {
  uint32_t bits;
  std::memcpy(&bits, &mass, sizeof bits);
  const uint64_t digits = (bits & 0x7fffffu) | 0x800000u;
  const int shift = exponentBits(mass) - unit;
  if (shift >= 0) return digits << shift;
  return shift > -24 ? digits >> -shift : 0;
}

// The key at which the mass of the logits with the key `least` and more reaches `topP` of what they all have.
template <class Element>
__device__ uint32_t massKey(Histogram& histogram, const Row<Element>& row, const Weight& weight, float largest,
                            uint32_t least, double topP, uint64_t negligible) {
  const int unit = exponentBits(weight(largest)) - (kLargestBits - 24);
  uint64_t total = 0;  // of this thread's
  const auto target = [&] {
    const uint64_t whole = sumOfBlock(total, histogram.ofWarps);
    return static_cast<uint64_t>(ceil(topP * static_cast<double>(whole)));
  };
  return threshold<Element>(histogram, target, [&](uint32_t lowest, auto f) {
    row.each(max(lowest, least), [&](float z, uint32_t key) {
      const uint64_t mass = integerOf(weight(z), unit);
      total += mass;
      if (mass > negligible) f(key, mass);
    });
  });
}

template <class Element>
__global__ void __launch_bounds__(kThreads, kBlocks)
    truncateRow(Logits z, Temperature temperature, kernels::Truncation truncation, uint64_t negligible, TileTable tiles,
                RowStats rows) {
  __shared__ Histogram histogram;
  const int64_t r = blockIdx.x, first = r * z.tiles();
  if (rows.fault[r] != kernels::RowFault::none) return;
  const Row<Element> row = {rowOf<Element>(z, r), tiles.max + first, z.vocab, z.tiles()};
  const uint32_t nothing = keyOf(kMinusInfinity);
  const double m = rows.exponent[r];
  uint32_t key = nothing;
  if (truncation.topK > 0 && truncation.topK < z.vocab) key = max(key, topKey(histogram, row, truncation.topK));
  if (truncation.topP < 1) {
    const Weight weight(m, temperature, kMinusInfinity);
    key = max(key, massKey(histogram, row, weight, rows.max[r], key, truncation.topP, negligible));
  }
  if (key == nothing) return;  // all are kept: the pass's own sums stand

  const float lowest = logitOf(key);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int tile = warp; tile < row.tiles; tile += kWarps) {
    const int64_t at = first + tile;
    float weight = 0;
    if (tiles.max[at] >= lowest) {
      const Weight ofTile(tiles.exponent[at], temperature, lowest);
      const Element* const logits = row.logits + tile * kTile;
      const double mass = sumOf(tileWidth(z, tile), [=](int c) { return ofTile(widen(logits[c])); });
      weight = static_cast<float>(mass * exp2((tiles.exponent[at] - m) * temperature.inverse));
    }
    if (laneOf() == 0) tiles.weight[at] = weight;
  }
  __syncthreads();
  if (warp != 0) return;
  const double mass = sumOf(row.tiles, [&](int j) { return tiles.weight[first + j]; });
  if (laneOf() != 0) return;
  rows.threshold[r] = lowest;
  rows.temperedMass[r] = mass;
}

}  // namespace

cudaError_t launch(const ops::Truncate& op, cudaStream_t stream) {
  const Logits& z = op.z;
  if (z.vocab >= 1 << 20) return cudaErrorInvalidValue;         // the histograms' sums would not fit
  const double ofLargest = (1 - op.truncation.topP) / z.vocab;  // V tokens with less than this have less than 1 − p
  const auto negligible = static_cast<uint64_t>(ofLargest * static_cast<double>(uint64_t{1} << (kLargestBits - 1)));
  return withElement(z.type, [&](auto element) {
    return FKINV_LAUNCH(truncateRow<decltype(element)>, static_cast<unsigned>(z.rows()), kThreads, 0, stream, z,
                        Temperature(op.temperature), op.truncation, negligible, op.tiles, op.rows);
  });
}

}  // namespace fkinv::cuda
