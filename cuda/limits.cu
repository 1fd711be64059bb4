// What a GPU can do at most, for the shares of a profile (machine_limits.h): c ← c·a + b in registers, and a sum over
// memory that is read once. Both are of kLimitBlocks blocks of kLimitThreads threads, without shared memory.
//
// multiplyAdds: kChains independent chains a thread hide the 4 cycles of an FMA; a warp scheduler has 8 warps besides.
// readMemory: 16 bytes a load, consecutive threads at consecutive addresses, four loads in flight for each thread; 1
// FLOP for 4 bytes, so that the floor is the memory's: 1.4 ms for 1 GiB at 768 GB/s (A6000), 0.32 ms at 3.35 TB/s
// (H100). Computed, not measured.
#include "common.cuh"

namespace fkinv::cuda {
namespace {

constexpr int kChains = 8;
constexpr float kNever = -1;  // all that is summed up is 0 or more

__global__ void __launch_bounds__(kLimitThreads) multiplyAddsKernel(int64_t rounds, float* sink) {
  float chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = static_cast<float>(threadIdx.x + i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma unroll
    for (float& chain : chains) chain = fmaf(chain, 0.999f, 0.001f);  // tends to 1
  }
  float sum = 0;
  for (const float chain : chains) sum += chain;
  if (sum == kNever) *sink = sum;
}

__global__ void __launch_bounds__(kLimitThreads) readMemoryKernel(const float4* from, int64_t count, float* sink) {
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  float sum = 0;
#pragma unroll 4
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += threads) {
    const float4 four = from[i];
    sum += fabsf(four.x) + fabsf(four.y) + fabsf(four.z) + fabsf(four.w);
  }
  if (sum == kNever) *sink = sum;
}

}  // namespace

cudaError_t multiplyAdds(int64_t each, float* sink, cudaStream_t stream) {
  return FKINV_LAUNCH(multiplyAddsKernel, kLimitBlocks, kLimitThreads, 0, stream, each / (2 * kChains), sink);
}

cudaError_t readMemory(const float4* from, int64_t count, float* sink, cudaStream_t stream) {
  return FKINV_LAUNCH(readMemoryKernel, kLimitBlocks, kLimitThreads, 0, stream, from, count, sink);
}

}  // namespace fkinv::cuda
