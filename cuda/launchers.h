// The CUDA twins of the kernels in cpp/kernels: what each computes, its formula and its source stand there, and its
// arguments are those of its op (cpp/ops). All pointers are to device memory. A launcher queues its kernels on `stream`
// and returns what the launch gave; it allocates nothing and waits for nothing.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "../cpp/ops/ops.h"

namespace fkinv::cuda {

using kernels::Draws;
using kernels::Layout;
using kernels::Logits;
using kernels::RowStats;
using kernels::TileTable;

/// Positions at most: what the accumulators of a block hold.
inline constexpr int kMaxPositions = 128;
/// Tiles of a chunk: the table's gram has a triangle for each tile.
inline constexpr int kChunkTiles = 1;

#define FKINV_LAUNCHER(Name) cudaError_t launch(const ops::Name& op, cudaStream_t stream);
FKINV_OPS(FKINV_LAUNCHER)
#undef FKINV_LAUNCHER

/// Bytes of op.workspace, aligned as cudaMalloc aligns.
std::size_t workspaceBytes(const ops::Redraw& op);

/// What the GPU can do at most, to be timed (machine_limits.h): kLimitBlocks · kLimitThreads threads that multiply and
/// add in registers, `each` operations of float32 every one; or that read `count` vectors of 16 bytes between them.
/// `sink` [1] is written where the result is a number that it never is, so that the work cannot be left out.
inline constexpr int kLimitBlocks = 1024, kLimitThreads = 256;
cudaError_t multiplyAdds(int64_t each, float* sink, cudaStream_t stream);
cudaError_t readMemory(const float4* from, int64_t count, float* sink, cudaStream_t stream);

}  // namespace fkinv::cuda
