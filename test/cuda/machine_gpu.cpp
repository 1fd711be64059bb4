// The memory of the kernels is the host's, which a GPU can use in place: slow, and the checks are small.
#include <cuda_runtime_api.h>

#include <cstring>

#include "check.h"
#include "machine.h"

namespace fkinv::cuda::check {
namespace {

uint8_t pattern = 0;

}  // namespace

void configure(uint64_t, uint8_t poison) { pattern = poison; }

void* allocate(std::size_t bytes) {
  void* memory = nullptr;
  expect(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped), "allocating memory");
  if (bytes > 0) std::memset(memory, pattern, bytes);
  return memory;
}

void release(void* memory) {
  cudaDeviceSynchronize();  // a kernel of a check that failed may still write here
  cudaFreeHost(memory);
}

void settle() { expect(cudaDeviceSynchronize(), "running kernels"); }

}  // namespace fkinv::cuda::check
