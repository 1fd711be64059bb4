// K3 (kernels/draw.h, kernels/redraw.h): tokens from softmax(z/τ) over z ≥ θ by inverse CDF on two levels. With the
// weights W_j of the tiles, u picks the tile, the first whose Σ_{i ≤ j} W_i > u·Σ W. In it, with the weights w =
// 2^((z·log2e − m_j)/τ), u′ picks the first token whose running sum exceeds u′·Σ w. All sums are in float64 and in a
// fixed order. At τ = 0 it is the first token of the row's maximum.
//
// A redraw is that draw from a copy of the row in float32 without the excluded tokens, by pass, merge and truncate of
// the copies as states of one position.
//
// z [Q, N, V]; tokens, logModel, logProposal [P, N]. A warp for each position of each particle, four a block, no shared
// memory; a warp whose position is not wanted ends at once. The copy: a block for each tile of a place.
//
// Bytes a draw: 4·⌈V/1024⌉ of the table, a tile of logits, 2 to 4 KB, that is read from the cache from the second time
// on, and about 100 more; a redraw writes and reads 4·V bytes more. FLOPs: 2·1024 powers of two, and 4·1024 additions
// in float64 with those between lanes.
//
// Floors, computed and not measured, for N = 77, V = 126464, float16 and P = 8, all wanted (616 draws): 1.6 MB, 2.1 µs
// on an A6000 (768 GB/s) and 0.5 µs on an H100 (3.35 TB/s); 2.5 M additions in float64, 8.3 µs on an A6000 and 0.15 µs
// on an H100, whose peaks (0.6 and 33.5 TFLOP/s) count two for what adds one.
#include <cstddef>

#include "../cpp/kernels/draw.h"
#include "../cpp/ops/read_logits.h"
#include "inverse_cdf.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 8;  // of a multiprocessor: 64 registers a thread, with fewer some would be spilled

// What a row is drawn from.
struct Row {
  const Logits& z;
  const TileTable& tiles;
  const RowStats& rows;
  int64_t r;
};

template <class Element>
__device__ int argmax(const Row& of) {
  const auto& [z, tiles, rows, r] = of;
  const float max = rows.max[r];
  const int tile = firstTileOf(tiles.max + r * z.tiles(), z.tiles(), max);
  const Element* const row = rowOf<Element>(z, r);
  int token = z.vocab - 1;
  for (int c = laneOf(); c < tileWidth(z, tile); c += kWarp) {
    if (widen(row[tile * kTile + c]) == max) token = min(token, tile * kTile + c);
  }
  return smallestOfWarp(token);
}

template <class Element>
__device__ int drawToken(const Row& of, const Temperature& temperature, kernels::Uniforms uniforms) {
  const auto& [z, tiles, rows, r] = of;
  const int64_t first = r * z.tiles();
  const float* const ofTiles = tiles.weight + first;
  const int tile = pick(z.tiles(), uniforms.u * rows.temperedMass[r], [=](int j) { return ofTiles[j]; });
  const Element* const logits = rowOf<Element>(z, r) + tile * kTile;
  const Weight weight(tiles.exponent[first + tile], temperature, rows.threshold[r]);
  const auto weightOf = [=](int c) { return weight(widen(logits[c])); };
  const int width = tileWidth(z, tile);
  return tile * kTile + pick(width, uniforms.uInside * sumOf(width, weightOf), weightOf);
}

// By a whole warp. A row with a fault gives any of its tokens.
template <class Element>
__device__ kernels::Drawn drawRow(const Row& of, const Temperature& temperature, kernels::Uniforms uniforms) {
  const auto& [z, tiles, rows, r] = of;
  const int token = temperature.value == 0 ? argmax<Element>(of) : drawToken<Element>(of, temperature, uniforms);
  const double x = static_cast<double>(widen(rowOf<Element>(z, r)[token])) * kLog2e - rows.exponent[r];
  const double logModel = kLn2 * (x - log2(rows.mass[r]));
  if (temperature.value == 0) return {token, logModel, 0};
  if (temperature.value == 1 && rows.threshold[r] == kMinusInfinity) return {token, logModel, logModel};
  return {token, logModel, kLn2 * (x * temperature.inverse - log2(rows.temperedMass[r]))};
}

__device__ kernels::Uniforms uniformsOf(const Layout& layout, const Draws& draws, int p, int n, uint32_t guess) {
  return kernels::uniforms(draws.seeds[p / layout.perImage], draws.step, static_cast<uint32_t>(p % layout.perImage),
                           static_cast<uint32_t>(n), draws.purpose, guess);
}

__device__ void write(const Draws& draws, int at, const kernels::Drawn& drawn) {
  if (laneOf() != 0) return;
  draws.tokens[at] = drawn.token;
  if (draws.logModel != nullptr) draws.logModel[at] = drawn.logModel;
  if (draws.logProposal != nullptr) draws.logProposal[at] = drawn.logProposal;
}

template <class Element>
__global__ void __launch_bounds__(kThreads, kBlocks)
    drawAll(Logits z, Temperature temperature, TileTable tiles, RowStats rows, Layout layout, Draws draws) {
  const int at = warpOfGrid();
  if (at >= layout.positions() || !draws.wanted[at]) return;
  const int p = at / layout.length, n = at % layout.length;
  const int64_t r = static_cast<int64_t>(draws.stateOf[p]) * layout.length + n;
  const auto uniforms = uniformsOf(layout, draws, p, n, draws.guess);
  write(draws, at, drawRow<Element>({z, tiles, rows, r}, temperature, uniforms));
}

// ---- Redraws

// The places of a redraw: a particle and a position each, and their excluded tokens.
struct Places {
  const int32_t* places;  // [count, 2]
  int count;
  const int32_t* excluded;
  const int32_t* firstOf;  // [count + 1]
};

// Copies of the places' rows, as the logits of `count` states of one position, and what the kernels make of them.
struct Copies {
  Logits z;
  kernels::PassResult tables;
  std::size_t bytes;
};

Copies inWorkspace(const Logits& from, int count, void* workspace) {
  Copies copies{};
  const auto take = [&](std::size_t bytes) {
    void* const at = workspace == nullptr ? nullptr : static_cast<char*>(workspace) + copies.bytes;
    copies.bytes += (bytes + 255) / 256 * 256;  // whole lines of the cache
    return at;
  };
  const int64_t stride = (from.vocab + 3) / 4 * 4;  // rows begin at 16 bytes
  void* const logits = take(static_cast<std::size_t>(count * stride) * sizeof(float));
  const auto* rows = static_cast<const int64_t*>(take(static_cast<std::size_t>(count) * sizeof(int64_t)));
  copies.z = {logits, kernels::LogitsType::float32, stride, rows, count, 1, from.vocab};
  copies.tables = kernels::takeTables({count, 1, from.vocab, kChunkTiles}, take);
  return copies;
}

// A block for a tile of a place; the first tile's writes where the copy begins, too.
template <class Element>
__global__ void __launch_bounds__(kThreads)
    copyWithout(Logits z, const int32_t* stateOf, Places at, float* copies, int64_t stride, int64_t* rows) {
  const int i = static_cast<int>(blockIdx.x) / z.tiles(), tile = static_cast<int>(blockIdx.x) % z.tiles();
  const int p = at.places[2 * i], n = at.places[2 * i + 1];
  const int begin = tile * kTile, end = begin + tileWidth(z, tile);
  const Element* const from = rowOf<Element>(z, static_cast<int64_t>(stateOf[p]) * z.positions + n);
  float* const to = copies + i * stride;
  if (begin == 0 && threadIdx.x == 0) rows[i] = i;
  for (int c = begin + static_cast<int>(threadIdx.x); c < end; c += kThreads) to[c] = widen(from[c]);
  __syncthreads();
  for (int e = at.firstOf[i] + static_cast<int>(threadIdx.x); e < at.firstOf[i + 1]; e += kThreads) {
    const int id = at.excluded[e];
    if (id >= begin && id < end) to[id] = kMinusInfinity;
  }
}

__global__ void __launch_bounds__(kThreads, kBlocks)
    drawCopies(Logits copies, Temperature temperature, TileTable tiles, RowStats rows, Layout layout, Draws draws,
               Places at, int32_t* drawn) {
  const int i = warpOfGrid();
  if (i >= at.count) return;
  if (rows.fault[i] != kernels::RowFault::none) {
    if (laneOf() == 0) drawn[i] = -1;
    return;
  }
  const int p = at.places[2 * i], n = at.places[2 * i + 1];
  const auto excluded = static_cast<uint32_t>(at.firstOf[i + 1] - at.firstOf[i]);
  const auto uniforms = uniformsOf(layout, draws, p, n, (draws.guess << 16) + (excluded & 0xffff));
  const kernels::Drawn token = drawRow<float>({copies, tiles, rows, i}, temperature, uniforms);
  write(draws, p * layout.length + n, token);
  if (laneOf() == 0) drawn[i] = token.token;
}

}  // namespace

cudaError_t launch(const ops::Draw& op, cudaStream_t stream) {
  const unsigned blocks = blocksFor(op.layout.positions(), kThreads / kWarp);
  return withElement(op.z.type, [&](auto element) {
    return FKINV_LAUNCH(drawAll<decltype(element)>, blocks, kThreads, 0, stream, op.z, Temperature(op.temperature),
                        op.tiles, op.rows, op.layout, op.draws);
  });
}

std::size_t workspaceBytes(const ops::Redraw& op) { return inWorkspace(op.z, op.count, nullptr).bytes; }

cudaError_t launch(const ops::Redraw& op, cudaStream_t stream) {
  if (op.count == 0) return cudaSuccess;
  const Places at = {op.places, op.count, op.excluded, op.firstOf};
  const auto [copies, tables, bytes] = inWorkspace(op.z, op.count, op.workspace);
  cudaError_t status = withElement(op.z.type, [&, &copies = copies](auto element) {
    return FKINV_LAUNCH(copyWithout<decltype(element)>, static_cast<unsigned>(op.count * op.z.tiles()), kThreads, 0,
                        stream, op.z, op.draws.stateOf, at, static_cast<float*>(copies.data), copies.rowStride,
                        const_cast<int64_t*>(copies.rowOf));
  });
  ops::readLogits(copies, op.temperature, op.truncation, tables, [&](const auto& read) {
    if (status == cudaSuccess) status = launch(read, stream);
  });
  if (status != cudaSuccess) return status;
  return FKINV_LAUNCH(drawCopies, blocksFor(op.count, kThreads / kWarp), kThreads, 0, stream, copies,
                      Temperature(op.temperature), tables.tiles, tables.rows, op.layout, op.draws, at, op.drawn);
}

}  // namespace fkinv::cuda
