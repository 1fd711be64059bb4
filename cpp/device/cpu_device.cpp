#include "cpu_device.h"

#include <cstring>
#include <new>
#include <string>
#include <variant>

#include "error.h"
#include "kernels/cpu.h"
#include "ort/library.h"

namespace fkinv {
namespace {

constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest vector register

}  // namespace

void CpuDevice::configure(OrtSessionOptions* options, bool) const {
  ort::check(ort::api().SetIntraOpNumThreads(options, 1), "MODEL_INVALID", "setting the threads");
  ort::check(ort::api().SetInterOpNumThreads(options, 1), "MODEL_INVALID", "setting the threads");
}

void* CpuDevice::allocate(std::size_t bytes) {
  void* memory = ::operator new(bytes, kAlignment, std::nothrow);
  if (memory == nullptr) {
    throw Error("OUT_OF_MEMORY", "could not allocate " + std::to_string(bytes) +
                                     " bytes of memory: use fewer particles, a smaller maxBatch or a shorter prompt");
  }
  return memory;
}
void CpuDevice::release(void* memory) noexcept { ::operator delete(memory, kAlignment); }
void CpuDevice::upload(void* to, const void* host, std::size_t bytes) { copy(to, host, bytes); }
void CpuDevice::download(void* host, const void* from, std::size_t bytes) { copy(host, from, bytes); }
void CpuDevice::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void CpuDevice::run(const ops::Op& op) {
  const kernels::Cpu cpu = {vectors_, pool_};
  std::visit([&](const auto& kernel) { kernels::run(kernel, cpu); }, op);
}

}  // namespace fkinv
