#pragma once
#include <limits>

#include "device.h"
#include "kernels/instruction_set.h"
#include "parallel.h"

namespace fkinv {

/// The host's processor: device memory is host memory. `threads` ≥ 1, the caller included, share the rows of a forward
/// and the pieces of a kernel; no result depends on how many there are.
class CpuDevice : public Device {
 public:
  explicit CpuDevice(int threads, const kernels::InstructionSet& vectors = kernels::bestInstructionSet())
      : vectors_(vectors), pool_(threads) {}

  const char* memoryName() const override { return "Cpu"; }
  int memoryIndex() const override { return 0; }
  bool isHost() const override { return true; }
  int maxPositions() const override { return std::numeric_limits<int>::max(); }
  const char* pinnedMemoryName() const override { return nullptr; }
  void wait() const noexcept override {}
  /// A run uses the thread that calls it and no other.
  void configure(OrtSessionOptions* options, bool cudaGraphs) const override;
  void configure(OrtRunOptions*) const override {}  // a run is done when it returns
  void eachRow(const Forward& forward, const std::function<void(int64_t)>& run) override {
    pool_.run(forward.rows, run);
  }

  bool hasCudaGraphs() const override { return false; }
  void capture(const std::function<void()>& run) override { run(); }

  std::unique_ptr<Mark> mark() noexcept override { return nullptr; }
  void enter(const char*) noexcept override {}
  void leave() noexcept override {}

  int chunkTiles() const override { return kernels::kChunk; }

  Limits measureLimits() override { return fkinv::measureLimits(pool_, vectors_); }

  void* allocate(std::size_t bytes) override;
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
  const kernels::InstructionSet& vectors_;
  ThreadPool pool_;
};

}  // namespace fkinv
