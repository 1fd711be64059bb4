#pragma once
#include <cuda_runtime_api.h>

#include <mutex>
#include <vector>

#include "device/device.h"

namespace fkinv {

/// One CUDA GPU: memory is its own, and all work goes through one stream, ONNX Runtime's runs too, so that nothing
/// waits but wait(), download() and measureLimits(). Rows of a forward run one after the other.
class CudaDevice : public Device {
 public:
  /// `index` as CUDA counts its devices. Throws Error "CUDA_UNAVAILABLE".
  explicit CudaDevice(int index);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  const char* memoryName() const override { return "Cuda"; }
  int memoryIndex() const override { return index_; }
  bool isHost() const override { return false; }
  int maxPositions() const override;
  const char* pinnedMemoryName() const override { return "CudaPinned"; }
  int chunkTiles() const override;
  void configure(OrtSessionOptions* options, bool cudaGraphs) const override;
  void configure(OrtRunOptions* options) const override;
  bool hasCudaGraphs() const override { return true; }
  void capture(const std::function<void()>& run) override;
  void eachRow(const Forward& forward, const std::function<void(int64_t)>& run) override;

  void wait() const noexcept override;
  /// A CUDA event.
  std::unique_ptr<Mark> mark() noexcept override;
  /// NVTX ranges: nothing but a look at a pointer where no profiler is attached.
  void enter(const char* name) noexcept override;
  void leave() noexcept override;
  Limits measureLimits() override;

  /// What all work is queued on, made current for the calling thread.
  cudaStream_t stream() const;

  /// In the order of the stream, from a pool of its own: neither waits for the GPU.
  void* allocate(std::size_t bytes) override;
  std::optional<std::size_t> freeBytes() override;
  void release(void* memory) noexcept override;
  void upload(void* to, const void* host, std::size_t bytes) override;
  void download(void* host, const void* from, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;

  void run(const ops::Op&) override;

 private:
  class Scratch;

  const int index_;
  cudaStream_t stream_ = nullptr;
  cudaMemPool_t pool_ = nullptr;
  std::mutex releasing_;  // which any thread may
};

}  // namespace fkinv
