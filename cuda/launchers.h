// The CUDA twins of the kernels in cpp/kernels, under the same names: what each computes, its formula and its source
// stand there. All pointers are to device memory. A launcher queues its kernels on `stream` and returns what the launch
// gave; it allocates nothing and waits for nothing.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "../cpp/kernels/host_device.h"
#include "../cpp/kernels/logits.h"
#include "../cpp/kernels/open.h"
#include "../cpp/kernels/philox.h"
#include "../cpp/kernels/resample.h"
#include "../cpp/kernels/truncate.h"

namespace fkinv::cuda {

using kernels::Logits;
using kernels::RowStats;
using kernels::TileTable;

/// Positions at most: what the accumulators of a block hold.
inline constexpr int kMaxPositions = 128;

/// Particles as the engine lays them out (device.h): image b has the slots b·perImage … b·perImage + perImage − 1.
struct Particles {
  int images, perImage, length;
  FKINV_HOST_DEVICE int count() const { return images * perImage; }
  FKINV_HOST_DEVICE int positions() const { return count() * length; }
};

/// K0. `at` may be null: everywhere.
cudaError_t suppress(const Logits& z, const int32_t* ids, int count, const uint8_t* at, cudaStream_t stream);

/// K1. The table's gram has a triangle for each tile: here a chunk is one.
cudaError_t pass(const Logits& z, double temperature, const TileTable& tiles, cudaStream_t stream);

/// K2.
cudaError_t merge(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows,
                  cudaStream_t stream);

/// Every row without a fault; fewer than 2^20 columns.
cudaError_t truncate(const Logits& z, double temperature, kernels::Truncation truncation, const TileTable& tiles,
                     const RowStats& rows, cudaStream_t stream);

/// K3, a draw for each wanted position of each particle (device.h, Draws). logModel and logProposal may be null.
struct Draws {
  const int32_t* stateOf;  // [particles]
  const uint8_t* wanted;   // [particles, length]
  const uint64_t* seeds;   // [images]
  uint32_t step;
  kernels::Purpose purpose;
  uint32_t guess;
  int32_t* tokens;      // [particles, length]
  double* logModel;     // [particles, length]
  double* logProposal;  // [particles, length]
};
cudaError_t draw(const Logits& z, double temperature, const TileTable& tiles, const RowStats& rows,
                 const Particles& particles, const Draws& draws, cudaStream_t stream);

/// K3 at `count` places of a particle and a position each, `places` [count, 2], with excluded tokens [count] lists:
/// those of place i are excluded[firstOf[i]] … excluded[firstOf[i + 1] − 1]. `drawn` [count]: the tokens, −1 where
/// nothing is left and nothing was written. `workspace`: redrawBytes() bytes, aligned as cudaMalloc aligns.
std::size_t redrawBytes(const Logits& z, int count);
cudaError_t redraw(const Logits& z, double temperature, kernels::Truncation truncation, const Particles& particles,
                   const Draws& draws, const int32_t* places, int count, const int32_t* excluded,
                   const int32_t* firstOf, int32_t* drawn, void* workspace, cudaStream_t stream);

cudaError_t masked(const Particles& particles, const uint8_t* live, int32_t maskId, const int32_t* tokens, int first,
                   int last, uint8_t* wanted, cudaStream_t stream);
cudaError_t exclude(const Particles& particles, const int32_t* stateOf, const kernels::RowFault* faults,
                    uint8_t* wanted, int32_t* tokens, cudaStream_t stream);
cudaError_t open(const Particles& particles, const uint64_t* seeds, uint32_t step, int stepOfBlock, int stepsOfBlock,
                 const uint8_t* wanted, uint8_t* opened, cudaStream_t stream);
cudaError_t score(kernels::Order order, const Logits& z, const TileTable& tiles, const RowStats& rows,
                  const Particles& particles, const int32_t* stateOf, const uint8_t* wanted, const double* logModel,
                  double* scores, cudaStream_t stream);
cudaError_t choose(const Particles& particles, const double* scores, const uint8_t* wanted, int count, uint8_t* opened,
                   cudaStream_t stream);
cudaError_t place(const Particles& particles, const uint8_t* opened, const int32_t* drawn, int32_t* tokens,
                  cudaStream_t stream);
cudaError_t accept(const Particles& particles, const uint8_t* opened, const uint8_t* drawn, const double* logModel,
                   const double* logProposal, double* logProb, double* logWeights, cudaStream_t stream);

/// K2b.
cudaError_t count(const Particles& particles, const int32_t* tokens, const int32_t* stops, int stopCount, bool all,
                  uint8_t* counted, cudaStream_t stream);
cudaError_t coupling(const Particles& particles, const float* gram, const int32_t* stateOf, const uint8_t* counted,
                     double* rewardEdit, cudaStream_t stream);

cudaError_t cosine(const Particles& particles, const float* texts, const int32_t* textOf, const float* images, int size,
                   double* rewardClip, cudaStream_t stream);
/// `embeddings` is a list, in device memory, of `count` pointers to device memory.
cudaError_t average(const float* const* embeddings, int count, int size, float* mean, cudaStream_t stream);

/// K4.
cudaError_t weigh(const Particles& particles, int guesses, const WeightedRewards& rewards, const double* previousTotal,
                  double* totals, double* logWeights, cudaStream_t stream);
cudaError_t effectiveSampleSize(const Particles& particles, const double* logWeights, double* ess, cudaStream_t stream);
cudaError_t resample(const Particles& particles, kernels::Scheme scheme, const uint64_t* seeds, uint32_t step,
                     const uint8_t* live, const double* ess, double threshold, uint8_t* resampled, double* logWeights,
                     int32_t* ancestors, cudaStream_t stream);
cudaError_t gather(const Particles& particles, const int32_t* ancestors, const void* from, void* to,
                   std::size_t rowBytes, cudaStream_t stream);

/// What the GPU can do at most, to be timed (machine_limits.h): kLimitBlocks · kLimitThreads threads that multiply and
/// add in registers, `each` operations of float32 every one; or that read `count` vectors of 16 bytes between them.
/// `sink` [1] is written where the result is a number that it never is, so that the work cannot be left out.
inline constexpr int kLimitBlocks = 1024, kLimitThreads = 256;
cudaError_t multiplyAdds(int64_t each, float* sink, cudaStream_t stream);
cudaError_t readMemory(const float4* from, int64_t count, float* sink, cudaStream_t stream);

}  // namespace fkinv::cuda
