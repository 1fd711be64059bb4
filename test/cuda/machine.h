// What the kernels of a check run on: the emulator (machine_emulated.cpp), or a GPU (machine_gpu.cpp).
#pragma once
#include <cstddef>
#include <cstdint>

namespace fkinv::cuda::check {

/// How the next kernels run: the seed of their threads' order, which on a GPU is its own affair, and the byte that
/// memory begins as.
void configure(uint64_t order, uint8_t poison);

/// Memory of the kernels that the host may use too, once settle() has returned.
void* allocate(std::size_t bytes);
void release(void* memory);

/// Waits for all kernels. Throws where one failed.
void settle();

}  // namespace fkinv::cuda::check
