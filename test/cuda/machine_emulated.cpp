#include "emulator.h"
#include "machine.h"

namespace fkinv::cuda::check {

void configure(uint64_t order, uint8_t poison) { emulator::configure({order, poison}); }

void* allocate(std::size_t bytes) { return emulator::allocate(bytes); }
void release(void* memory) { emulator::release(memory); }

void settle() {}  // a launch returns when its kernel has ended

}  // namespace fkinv::cuda::check
