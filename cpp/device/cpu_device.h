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

  void run(const ops::Op&) override;

 private:
  const kernels::InstructionSet& vectors_;
  ThreadPool pool_;
};

}  // namespace fkinv
