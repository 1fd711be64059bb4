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

  void suppress(const Logits&, std::span<const int32_t> ids, std::span<const uint8_t> at) override;
  void pass(const Logits&, double temperature, const TileTable&) override;
  void merge(const Logits&, double temperature, const TileTable&, const RowStats&) override;
  void truncate(const Logits&, double temperature, kernels::Truncation, const TileTable&, const RowStats&) override;
  void masked(const Layout&, const uint8_t* live, int32_t maskId, const int32_t* tokens, int first, int last,
              uint8_t* wanted) override;
  void exclude(const Layout&, const int32_t* stateOf, const kernels::RowFault* faults, uint8_t* wanted,
               int32_t* tokens) override;
  void open(const Layout&, const uint64_t* seeds, uint32_t step, const Block&, const uint8_t* wanted,
            uint8_t* opened) override;
  void score(kernels::Order, const Logits&, const TileTable&, const RowStats&, const Layout&, const int32_t* stateOf,
             const uint8_t* wanted, const double* logModel, double* scores) override;
  void choose(const Layout&, const double* scores, const uint8_t* wanted, int count, uint8_t* opened) override;
  void draw(const Logits&, double temperature, const TileTable&, const RowStats&, const Layout&, const Draws&) override;
  std::vector<int32_t> redraw(const Logits&, double temperature, kernels::Truncation, const Layout&, const Draws&,
                              std::span<const Redraw> redraws) override;
  void place(const Layout&, const uint8_t* opened, const int32_t* drawn, int32_t* tokens) override;
  void accept(const Layout&, const uint8_t* opened, const uint8_t* drawn, const double* logModel,
              const double* logProposal, double* logProb, double* logWeights) override;
  void count(const Layout&, const int32_t* tokens, std::span<const int32_t> stops, bool all, uint8_t* counted) override;
  void coupling(const Layout&, const float* gram, const int32_t* stateOf, const uint8_t* counted,
                double* rewardEdit) override;
  void cosine(const Layout&, const float* texts, const int32_t* textOf, const float* images, int size,
              double* rewardClip) override;
  void average(std::span<const float* const> embeddings, int size, float* mean) override;
  void weigh(const Layout&, int guesses, const WeightedRewards&, const double* previousTotal, double* total,
             double* logWeights) override;
  void effectiveSampleSize(const Layout&, const double* logWeights, double* ess) override;
  void resample(const Layout&, kernels::Scheme, const uint64_t* seeds, uint32_t step, const Due&, uint8_t* resampled,
                double* logWeights, int32_t* ancestors) override;
  void gather(const Layout&, const int32_t* ancestors, const void* from, void* to, std::size_t rowBytes) override;

 private:
  class Scratch;

  const int index_;
  cudaStream_t stream_ = nullptr;
  cudaMemPool_t pool_ = nullptr;
  std::mutex releasing_;  // which any thread may
};

}  // namespace fkinv
