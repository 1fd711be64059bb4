// Whole inversions of the demo models on the CUDA device, its kernels run by the emulator and the graphs by ONNX
// Runtime on the CPU, held to the same inversions on the CPU device:
//   device_check libonnxruntime models
#include <cmath>
#include <cstdio>
#include <memory>

#include "../long/demo.h"
#include "cpu_device.h"
#include "cuda_device.h"
#include "emulator.h"
#include "ort/library.h"

namespace fkinv {
namespace {

// The emulated GPU's memory is the host's, and ONNX Runtime runs there.
class EmulatedDevice final : public CudaDevice {
 public:
  EmulatedDevice() : CudaDevice(0) {}
  const char* memoryName() const override { return host_.memoryName(); }
  int memoryIndex() const override { return host_.memoryIndex(); }
  void configure(OrtSessionOptions* options) const override { host_.configure(options); }
  void configure(OrtRunOptions* options) const override { host_.configure(options); }

 private:
  CpuDevice host_{1};
};

// Tokens are the same; rewards differ by the Gram's float16 operands alone.
void compare(const Demo::Result& gpu, const Demo::Result& cpu) {
  expect(gpu.tokens == cpu.tokens, "the GPU gives other tokens");
  expect(gpu.rewards.size() == cpu.rewards.size(), "the GPU gives other rewards");
  for (std::size_t i = 0; i < gpu.rewards.size(); ++i) {
    if (std::isnan(gpu.rewards[i]) && std::isnan(cpu.rewards[i])) continue;  // of the image that is broken
    expect(std::fabs(gpu.rewards[i] - cpu.rewards[i]) <= 1e-3, "a reward of the GPU's is off");
  }
}

}  // namespace
}  // namespace fkinv

int main(int argc, char** argv) {
  using namespace fkinv;
  expect(argc == 3, "device_check libonnxruntime models");
  ort::open(argv[1]);
  Demo onCpu(argv[2], std::make_shared<CpuDevice>(2));
  CancelToken never;
  for (const auto order :
       {kernels::Order::random, kernels::Order::confidence, kernels::Order::entropy, kernels::Order::margin}) {
    const Demo::Result expected = onCpu.run(never, order);
    for (const emulator::Settings& settings : {emulator::Settings{1, 0xff}, emulator::Settings{2, 0x00}}) {
      emulator::configure(settings);
      Demo onGpu(argv[2], std::make_shared<EmulatedDevice>());
      compare(onGpu.run(never, order), expected);
    }
  }
  std::puts("passed: four orders, each twice");
}
