// Runs of a session as CUDA graphs.
#pragma once
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "library.h"

namespace fkinv::ort {

/// An input or output of a run, in the memory of a device.
struct BoundTensor {
  bool isInput;
  std::string name;
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;
  std::size_t bytes;
  void* data;
  /// Where `data` is the host's, what the device has for it: copied there before each run. Null where it is the
  /// device's.
  const void* source = nullptr;
};

/// ONNX Runtime's hold of the tensors of a run.
class BoundRun {
 public:
  /// Tensors are where `memory` says, those with a source on the host. Throws Error "MODEL_RUN".
  BoundRun(OrtSession* session, const OrtMemoryInfo* memory, std::span<const BoundTensor> tensors);

  /// ONNX Runtime's message; empty when it ran.
  std::string run(const OrtRunOptions* options) const;

 private:
  using Value = std::unique_ptr<OrtValue, Releaser<OrtValue, &OrtApi::ReleaseValue>>;

  OrtSession* session_;
  std::vector<Value> values_;
  std::unique_ptr<OrtIoBinding, Releaser<OrtIoBinding, &OrtApi::ReleaseIoBinding>> binding_;
};

using MemoryInfo = std::unique_ptr<OrtMemoryInfo, Releaser<OrtMemoryInfo, &OrtApi::ReleaseMemoryInfo>>;
using RunOptions = std::unique_ptr<OrtRunOptions, Releaser<OrtRunOptions, &OrtApi::ReleaseRunOptions>>;

/// Both throw Error "MODEL_RUN".
MemoryInfo memoryOf(const Device& device);
MemoryInfo hostMemory();
/// Makes the options of runs on `device`; `cudaGraph` is the number that ONNX Runtime knows the run's CUDA graph by,
/// where the session has any, −1 for none. Throws Error "MODEL_RUN".
RunOptions runOptionsOf(const Device& device, std::optional<int> cudaGraph);

/// The CUDA graphs of a session, one for the runs of each set of shapes. A graph keeps the addresses that it was
/// captured with, so each has memory of its own: a run's inputs are copied there and its outputs from there, in the
/// order of the device. ONNX Runtime keeps every graph for as long as the session lives, which bounds how many there
/// may be.
///
/// All calls are the engine's thread's, which ONNX Runtime keeps a session's graphs for.
class CudaGraphs {
 public:
  /// Sets of shapes that get a graph: the first that come.
  static constexpr int kMost = 16;

  /// `session` outlives them.
  CudaGraphs(OrtSession* session, std::shared_ptr<Device> device);

  /// Runs the session's graph, which ONNX Runtime captures the first time. The message that it failed with, empty when
  /// it ran, and nothing where these shapes get no graph, nor inputs that are read on the host, which a replay would
  /// not. Throws Error "OUT_OF_MEMORY", or "MODEL_RUN".
  std::optional<std::string> run(std::span<const BoundTensor> tensors);

  /// How many were captured.
  std::size_t size() const { return graphs_.size(); }

 private:
  struct Graph {
    std::vector<Array<uint8_t>> memory;
    std::vector<BoundTensor> tensors;
    std::optional<BoundRun> run;
    RunOptions options;
  };
  Graph make(std::span<const BoundTensor> tensors);

  OrtSession* session_;
  std::shared_ptr<Device> device_;
  int made_ = 0;
  std::list<Graph> graphs_;
};

}  // namespace fkinv::ort
