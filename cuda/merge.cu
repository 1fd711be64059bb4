// K2 (kernels/merge.h): the tiles of each row, in order, into its statistics, and those of each two rows of a
// state into S. With m = max m_j and s_j = 2^(m_j − m): L = Σ L_j s_j, T = Σ s_j (T_j + L_j (m_j − m)), entropy
// ln2·(log2 L − T/L), S_ij = Σ_t A_t s_i s_j/(L_i L_j); the tiles' weights become multiples of 2^(m/τ). Sums are in
// float64.
//
// The table's tiles [Q·N, ⌈V/1024⌉], the Gram [Q, ⌈V/1024⌉, N(N + 1)/2]; S [Q, N, N]. mergeRows: a warp a row, eight a
// block. mergeGram: a thread for each pair of rows, 256 a block, and 8 KB of shared memory for the powers of two of
// sixteen tiles. N = 77, V = 126464, a state: 0.23 MB of tiles and 1.49 MB of Gram are read, 24 KB written; 0.4 MFLOP.
// Floors, computed and not measured: 2.2 µs on an A6000 (768 GB/s), 0.5 µs on an H100 (3.35 TB/s).
#include <cmath>

#include "../cpp/kernels/power_of_two.h"
#include "common.cuh"

namespace fkinv::cuda {
namespace {

using kernels::powerOfTwo;
using kernels::RowFault;

constexpr int kThreads = 256;
constexpr int kBatch = 16;  // tiles whose sums a thread asks for at once

// A warp for each row: its tiles go round the lanes.
__global__ void __launch_bounds__(kThreads)
    mergeRows(const Logits z, const Temperature temperature, const TileTable t, const RowStats out) {
  const int64_t r = warpOfGrid();
  if (r >= z.rows()) return;
  const int tiles = z.tiles();
  const int64_t first = r * tiles;
  double m = static_cast<double>(kMinusInfinity);
  float max = kMinusInfinity;
  for (int64_t at = first + laneOf(); at < first + tiles; at += kWarp) {
    m = fmax(m, t.exponent[at]);
    max = fmaxf(max, t.max[at]);
  }
  m = largestOfWarp(m);
  max = largestOfWarp(max);
  double mass = 0, moment = 0, temperedMass = 0;
  for (int64_t at = first + laneOf(); at < first + tiles; at += kWarp) {
    const double ofTile = static_cast<double>(t.mass[at]), shift = t.exponent[at] - m;
    if (t.exponent[at] == static_cast<double>(kMinusInfinity)) {
      mass += ofTile;  // 0, or NaN
      continue;
    }
    const double scale = powerOfTwo(shift);
    mass += ofTile * scale;
    if (scale > 0) moment += scale * (static_cast<double>(t.moment[at]) + ofTile * shift);
    if (temperature.value == 0) continue;
    t.weight[at] *= static_cast<float>(temperature.value == 1 ? scale : exp2(shift * temperature.inverse));
    temperedMass += static_cast<double>(t.weight[at]);
  }
  mass = sumOfWarp(mass);
  moment = sumOfWarp(moment);
  temperedMass = sumOfWarp(temperedMass);
  if (laneOf() != 0) return;
  out.max[r] = max;
  out.exponent[r] = m;
  out.mass[r] = mass;
  out.temperedMass[r] = temperedMass;
  out.threshold[r] = kMinusInfinity;
  out.entropy[r] = static_cast<float>(fmax(0.0, kLn2 * (log2(mass) - moment / mass)));
  out.fault[r] = mass > 0 && isfinite(mass) ? RowFault::none : mass == 0 ? RowFault::nothingLeft : RowFault::notFinite;
}

// The row of a triangle's pair number `pair`.
__device__ int rowOfPair(int pair, int positions) {
  int low = 0, high = positions - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (middle * (2 * positions - middle + 1) / 2 <= pair) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// A thread for each pair of a state's rows.
__global__ void __launch_bounds__(kThreads) mergeGram(const Logits z, const TileTable t, const RowStats out) {
  __shared__ float scales[kBatch][kMaxPositions];
  const int N = z.positions, tiles = z.tiles(), pairs = z.pairs();
  const int blocksOfState = (pairs + kThreads - 1) / kThreads;
  const int state = static_cast<int>(blockIdx.x) / blocksOfState, thread = static_cast<int>(threadIdx.x);
  const int pair = static_cast<int>(blockIdx.x) % blocksOfState * kThreads + thread;
  const bool isPair = pair < pairs;
  const int i = rowOfPair(min(pair, pairs - 1), N), j = isPair ? pair - i * (2 * N - i - 1) / 2 : i;
  const int64_t firstRow = static_cast<int64_t>(state) * N;
  const float* gram = t.gram + static_cast<int64_t>(state) * tiles * pairs + pair;
  double sum = 0;
  for (int first = 0; first < tiles; first += kBatch) {
    float part[kBatch];
#pragma unroll
    for (int c = 0; c < kBatch; ++c) {
      part[c] = isPair && first + c < tiles ? gram[static_cast<int64_t>(first + c) * pairs] : 0;
    }
    const int count = min(kBatch, tiles - first);
    for (int at = thread; at < count * N; at += kThreads) {
      const int c = at / N, k = at % N;
      const double m = t.exponent[(firstRow + k) * tiles + first + c];
      scales[c][k] = static_cast<float>(powerOfTwo(m - out.exponent[firstRow + k]));
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kBatch; ++c) {
      if (c < count) sum += static_cast<double>(part[c] * scales[c][i] * scales[c][j]);
    }
    __syncthreads();
  }
  if (!isPair) return;
  float* similarity = out.gram + firstRow * N;
  const double* mass = out.mass + firstRow;
  similarity[i * N + j] = similarity[j * N + i] = static_cast<float>(sum / (mass[i] * mass[j]));
}

}  // namespace

cudaError_t launch(const ops::Merge& op, cudaStream_t stream) {
  const Logits& z = op.z;
  if (op.tiles.chunkTiles != kChunkTiles) return cudaErrorInvalidValue;
  const cudaError_t queued = FKINV_LAUNCH(mergeRows, blocksFor(z.rows(), kThreads / kWarp), kThreads, 0, stream, z,
                                          Temperature(op.temperature), op.tiles, op.rows);
  if (queued != cudaSuccess) return queued;
  const unsigned blocks = blocksFor(z.pairs(), kThreads) * static_cast<unsigned>(z.states);
  return FKINV_LAUNCH(mergeGram, blocks, kThreads, 0, stream, z, op.tiles, op.rows);
}

}  // namespace fkinv::cuda
