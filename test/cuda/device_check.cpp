// Whole inversions of the demo models on the CUDA device, its kernels run by the emulator or by a GPU, held to the same
// inversions on the CPU device:
//   device_check libonnxruntime models          the graphs by ONNX Runtime on the CPU
//   device_check libonnxruntime models cuda     the graphs by its CUDA provider (on a GPU)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>

#include "../long/demo.h"
#include "cpu_device.h"
#include "cuda_device.h"
#ifdef FKINV_EMULATED
#include "emulator.h"
#endif
#include "machine.h"
#include "ort/library.h"

namespace fkinv {
namespace {

// Its memory is the host's, too, and ONNX Runtime runs there.
class GraphsOnHost final : public CudaDevice {
 public:
  GraphsOnHost() : CudaDevice(0) {}
  const char* memoryName() const override { return host_.memoryName(); }
  int memoryIndex() const override { return host_.memoryIndex(); }
  const char* pinnedMemoryName() const override { return host_.pinnedMemoryName(); }
  void configure(OrtSessionOptions* options) const override { host_.configure(options); }
  void configure(OrtRunOptions* options) const override { host_.configure(options); }
  void eachRow(const Forward& forward, const std::function<void(int64_t)>& run) override {
    cuda::check::settle();
    host_.eachRow(forward, run);
  }
  void* allocate(std::size_t bytes) override { return cuda::check::allocate(bytes); }
  void release(void* memory) noexcept override { cuda::check::release(memory); }

 private:
  CpuDevice host_{1};
};

#ifdef FKINV_EMULATED
// Each byte that crossed between host and device is counted, with what it is for: in the steps token ids, text ids,
// rewards and ancestors.
void checkCopies(const Demo::Result& gpu, std::size_t bytes) {
  constexpr int kImages = 4, kParticles = 12, kLength = 9, kGuesses = 2, kSteps = 4, kForwards = kSteps + 1;
  const auto& of = gpu.copies.of;
  int64_t counted = 0;
  for (const auto& [toDevice, toHost] : of) counted += toDevice + toHost;
  expect(static_cast<std::size_t>(counted) == bytes, "some bytes that were copied are not counted");
  const auto at = [&](Copied why) { return of[static_cast<std::size_t>(why)]; };
  const int64_t rewards = kForwards * ((2 * kGuesses + 1) * kParticles + kImages) * int64_t{sizeof(double)};
  expect(at(Copied::rewards).toHost == rewards && at(Copied::rewards).toDevice == 0, "the rewards' bytes");
  const int64_t ancestors = kSteps * (kParticles * int64_t{sizeof(int32_t)} + kImages);
  expect(at(Copied::ancestors).toHost == ancestors && at(Copied::ancestors).toDevice == 0, "the ancestors' bytes");
  const int64_t tokens = (kForwards * kGuesses + kSteps) * kParticles * kLength * int64_t{sizeof(int32_t)};
  const int64_t redrawn = at(Copied::tokenIds).toHost - tokens;
  expect(redrawn >= 0 && redrawn <= kSteps * int64_t{sizeof(int32_t)}, "the token ids' bytes");
  expect(at(Copied::textIds).toHost == 0, "texts do not come back");
}
#endif

// Kernels over the same logits draw the same tokens; their rewards differ by the Gram's operands alone.
void compare(const Demo::Result& gpu, const Demo::Result& cpu) {
  expect(gpu.tokens == cpu.tokens, "the GPU gives other tokens");
  expect(gpu.rewards.size() == cpu.rewards.size(), "the GPU gives other rewards");
  double most = 0;
  for (std::size_t i = 0; i < gpu.rewards.size(); ++i) {
    if (std::isnan(gpu.rewards[i]) && std::isnan(cpu.rewards[i])) continue;  // of the image that is broken
    most = std::max(most, std::fabs(gpu.rewards[i] - cpu.rewards[i]));
  }
  std::printf("rewards are within %.1e\n", most);
  expect(most <= 1e-3, "a reward of the GPU's is off");
}

}  // namespace
}  // namespace fkinv

int main(int argc, char** argv) {
  using namespace fkinv;
  expect(argc == 3 || (argc == 4 && std::string(argv[3]) == "cuda"), "device_check libonnxruntime models [cuda]");
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was said stands, should the process end
  ort::open(argv[1]);
  try {
    Demo onCpu(argv[2], std::make_shared<CpuDevice>(2));
    CancelToken never;
    for (const auto order :
         {kernels::Order::random, kernels::Order::confidence, kernels::Order::entropy, kernels::Order::margin}) {
      const Demo::Result expected = onCpu.run(never, order);
      for (const uint64_t seed : {1, 2}) {
        cuda::check::configure(seed, seed == 1 ? 0xff : 0x00);
        std::shared_ptr<Device> device = std::make_shared<GraphsOnHost>();
        if (argc == 4) device = std::make_shared<CudaDevice>(0);
        Demo onGpu(argv[2], std::move(device));
#ifdef FKINV_EMULATED
        emulator::hostBytes = 0;
#endif
        const Demo::Result result = onGpu.run(never, order);
        compare(result, expected);
#ifdef FKINV_EMULATED
        checkCopies(result, emulator::hostBytes);
#endif
      }
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", error.code, error.what());
    return 1;
  }
  std::puts("passed: four orders, each twice");
}
